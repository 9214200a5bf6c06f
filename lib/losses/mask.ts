/** What counts in a loss: values under a mask, arguments of the right shape, and which tensors gradients reach. */
import { InputError, plural } from '../errors';
import { tf } from '../tf';

/** @throws InputError unless the first of the named tensors has this rank and the others have its shape. */
export function requireSameShape(rank: number, tensors: Record<string, tf.Tensor>): void {
  const [firstName, first] = Object.entries(tensors)[0]!;
  if (first.rank !== rank) throw new InputError(`${firstName} must have ${rank} axes, got shape [${first.shape}]`);
  for (const [name, { shape }] of Object.entries(tensors)) {
    if (!tf.util.arraysEqual(shape, first.shape)) {
      throw new InputError(`${name} has shape [${shape}], ${firstName} has [${first.shape}]; they must be the same`);
    }
  }
}

/** @throws InputError if a row of the mask is all 0. */
export function requireResponse(mask: tf.Tensor2D): void {
  const empty = mask.arraySync().findIndex((row) => row.every((selected) => selected === 0));
  if (empty >= 0) throw new InputError(`row ${empty} has no response token to score; check its responseMask`);
}

/** `x` as a constant: the same values, and a gradient of 0. PyTorch's `detach()`, which tfjs lacks. */
export function stopGradient<T extends tf.Tensor>(x: T): T {
  return constant(x) as T;
}

const constant = tf.customGrad((x) => ({
  value: (x as tf.Tensor).clone(),
  gradFunc: (dy: tf.Tensor) => tf.zerosLike(dy),
}));

/** `x` where the mask is 1, else 0, even where `x` is infinite or NaN, which a product with the mask would keep. */
export function masked<T extends tf.Tensor>(x: T, mask: tf.Tensor): T {
  return tf.where<T>(mask.cast('bool'), x, tf.zerosLike(x));
}

/**
 * The mean over all positions where the mask is 1, across all rows. Differentiable.
 *
 * @param x float32, any shape; the mask has the same shape.
 * @throws InputError if the shapes differ or the mask is empty.
 */
export function maskedMean(x: tf.Tensor, mask: tf.Tensor): tf.Scalar {
  requirePositions(x, mask, 1);
  return tf.tidy(() => masked(x, mask).sum().div<tf.Scalar>(mask.sum()));
}

/** The variance over the same positions, with Bessel's correction n / (n - 1) unless `unbiased` is false. */
export function maskedVariance(
  x: tf.Tensor,
  mask: tf.Tensor,
  { unbiased = true }: { unbiased?: boolean } = {},
): tf.Scalar {
  const count = requirePositions(x, mask, unbiased ? 2 : 1);
  return tf.tidy(() => {
    const centered = masked(x.sub(maskedMean(x, mask)), mask);
    const biased = maskedMean(centered.square(), mask);
    return unbiased ? biased.mul(count / (count - 1)) : biased;
  });
}

/**
 * (x - mean) / sqrt(variance + 1e-8) over the mask, 0 outside it: TRL's `masked_whiten`.
 *
 * @param options.shiftMean false adds the mean back afterwards, as is done for rewards. Default true.
 * @param options.unbiased as in `maskedVariance`. Default true.
 * @throws InputError if the shapes differ or the mask selects fewer than two positions (one, if not `unbiased`).
 */
export function whiten<T extends tf.Tensor>(
  x: T,
  mask: tf.Tensor,
  { shiftMean = true, unbiased = true }: { shiftMean?: boolean; unbiased?: boolean } = {},
): T {
  return tf.tidy(() => {
    const mean = maskedMean(x, mask);
    const whitened = masked(x.sub(mean), mask).mul<T>(maskedVariance(x, mask, { unbiased }).add(1e-8).rsqrt());
    return shiftMean ? whitened : masked(whitened.add<T>(mean), mask);
  });
}

/** The number of positions that the mask selects. @throws InputError if they are fewer than `least`. */
function requirePositions(x: tf.Tensor, mask: tf.Tensor, least: number): number {
  requireSameShape(x.rank, { x, mask });
  const count = tf.tidy(() => mask.cast('int32').sum<tf.Scalar>().arraySync());
  if (count < least)
    throw new InputError(`the mask selects ${plural(count, 'position')}; at least ${least} are needed`);
  return count;
}
