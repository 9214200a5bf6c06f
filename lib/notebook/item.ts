/** The value of a tensor that has only one. */
import { InputError } from '../errors';
import type { tf } from '../tf';

/**
 * The only value of a tensor, as a number: PyTorch's `.item()`.
 *
 *     item(losses.mean()).toFixed(4);
 *
 * @param tensor of any shape and dtype, with exactly one element. It is not disposed of.
 * @returns a number; for a tensor of booleans 0 or 1.
 * @throws InputError if the tensor has no element or more than one.
 */
export function item(tensor: tf.Tensor): number {
  if (tensor.size !== 1)
    throw new InputError(
      `item takes the value of a tensor with one element, and this one has the shape [${tensor.shape.join(', ')}]; ` +
        'reduce it first, for example with .sum() or .mean(), or take all values with .dataSync()',
    );
  return tensor.dataSync()[0]!;
}
