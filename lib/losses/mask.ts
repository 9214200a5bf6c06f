/** What the losses ask of their arguments, and values under a mask. */
import { InputError } from '../errors';
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

/** `x` where the mask is 1, else 0, even where `x` is infinite or NaN, which a product with the mask would keep. */
export function masked<T extends tf.Tensor>(x: T, mask: tf.Tensor): T {
  return tf.where<T>(mask.cast('bool'), x, tf.zerosLike(x));
}
