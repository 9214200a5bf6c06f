/** One line that says which model this is and what computes it: for the first screen of a notebook. */
import type { GPT2 } from '../model/gpt2';
import { computePolicy, device, deviceName } from '../tf';
import { parameterCount } from './inspection';

/**
 * Which model this is and where it is computed, in one line:
 *
 *     tiny: a GPT-2 of 7.3 M parameters, 4 layers of width 128, at most 256 tokens; on the CPU (2 cores), fp32, …
 *
 * @param name as `fromPretrained` takes it; a model does not know its own.
 */
export function deviceAndModel(name: string, { config, weights }: GPT2): string {
  const { nLayer, nEmbd, blockSize } = config;
  const millions = (parameterCount(weights) / 1e6).toFixed(1);
  return (
    `${name}: a GPT-2 of ${millions} M parameters, ${nLayer} layers of width ${nEmbd}, at most ${blockSize} tokens; ` +
    `on the ${deviceName()}, ${computePolicy}, TensorFlow ${device().tensorflow}`
  );
}
