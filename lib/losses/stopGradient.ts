import { tf } from '../tf';

/** `x` as a constant: the same values, and a gradient of 0. PyTorch's `detach()`, which tfjs lacks. */
export function stopGradient<T extends tf.Tensor>(x: T): T {
  return constant(x) as T;
}

const constant = tf.customGrad((x) => ({
  value: (x as tf.Tensor).clone(),
  gradFunc: (dy: tf.Tensor) => tf.zerosLike(dy),
}));
