/** Makes Node's `util.inspect` print tensors and models as values, as the last line of a cell or in a console. */
import { inspect, type InspectOptions } from 'node:util';

import { Variables } from '../engine/variables';
import { plural } from '../errors';
import { GPT2 } from '../model/gpt2';
import { RewardModel } from '../model/rewardModel';
import { tf } from '../tf';

/** Default depth of `inspect`; a value printed by itself still has all levels left. */
const ALL_LEVELS = 2;

function shownAs<T>(
  kind: { readonly prototype: T },
  show: (value: T, options: InspectOptions, alone: boolean) => string,
): void {
  const custom = function (this: T, depth: number | null, options: InspectOptions): string {
    return show(this, options, depth === null || depth >= ALL_LEVELS);
  };
  Object.defineProperty(kind.prototype, inspect.custom, { value: custom, configurable: true, writable: true });
}

/**
 * Prints a tensor by itself with its numbers, as tfjs does (only the first and last of many), and a tensor inside
 * another value by its dtype and shape.
 */
shownAs<tf.Tensor>(tf.Tensor, (tensor, _, alone) => {
  const head = `${tensor.constructor.name} ${tensor.dtype} [${tensor.shape.join(', ')}]`;
  if (tensor.isDisposed) return `${head}, disposed`;
  const [, ...lines] = tensor.toString().split('\n');
  return alone ? [head, ...lines.map((line) => line.replace(/^ {4}/, ''))].join('\n') : head;
});

/** The number of parameters. */
export const parameterCount = (weights: Variables): number =>
  weights.names.reduce((sum, name) => sum + weights.shape(name).reduce((product, size) => product * size, 1), 0);

shownAs(
  GPT2,
  ({ config, weights }, options) => `GPT2 ${inspect({ ...config, parameters: parameterCount(weights) }, options)}`,
);
shownAs(
  RewardModel,
  ({ config, weights, padTokenId }, options) =>
    `RewardModel ${inspect({ ...config, padTokenId, parameters: parameterCount(weights) }, options)}`,
);
shownAs(
  Variables,
  (weights) =>
    `${weights.constructor.name} of ${plural(weights.names.length, 'tensor')}, ${parameterCount(weights)} numbers`,
);
