import { bestOf } from './bestOfN';
import { dpo } from './dpo';
import { grpo } from './grpo';
import type { Method } from './method';
import { ppo } from './ppo';
import type { Scale } from './scale';

/** All methods in the comparison. */
export const methods = (scale: Scale): readonly Method[] => [bestOf(scale), dpo(scale), ppo(scale), grpo(scale)];
