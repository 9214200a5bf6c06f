import { bestOf } from './bestOfN';
import { dpo } from './dpo';
import type { Method } from './method';
import type { Scale } from './scale';

/** Everything that the frontier compares. */
export const methods = (scale: Scale): readonly Method[] => [bestOf(scale), dpo(scale)];
