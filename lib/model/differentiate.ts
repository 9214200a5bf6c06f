/** Where a loss meets the forward pass: its value, and its gradient with respect to the pass's small tensors. */
import { freeTape, tf } from '../tf';

/** Owns `gradients`: dispose of it after the backward pass. */
export interface LossGradient<Inputs extends readonly tf.Tensor[]> extends Disposable {
  /** The loss. */
  readonly value: number;
  /** The gradient with respect to each input, of its shape. */
  readonly gradients: Inputs;
}

/**
 * Computes a loss and its gradients. Frees everything that `loss` makes, also when it throws. The inputs stay yours; as
 * a rule they belong to the forward pass:
 *
 *     using pass = model.record(batch);
 *     using loss = differentiate([pass.perTokenLogps], (perTokenLogps) => …);
 *     const gradients = pass.backward(loss.gradients[0]);
 *
 * @param inputs float32 tensors, on each of which the loss depends.
 * @param loss is differentiated with respect to its arguments only: inside it, `pass.perTokenLogps` is a constant.
 */
export function differentiate<Inputs extends readonly [tf.Tensor, ...tf.Tensor[]]>(
  inputs: Inputs,
  loss: (...inputs: Inputs) => tf.Scalar,
): LossGradient<Inputs> {
  const variables = inputs.map((input) => input.clone()); // what tfjs's tape follows
  try {
    const { value, grads } = tf.valueAndGrads((...xs) => loss(...(xs as unknown as Inputs)))(variables);
    const number = value.dataSync()[0]!;
    value.dispose();
    return {
      value: number,
      gradients: grads as unknown as Inputs,
      [Symbol.dispose]: () => tf.dispose(grads),
    };
  } catch (error) {
    freeTape();
    throw error;
  } finally {
    tf.dispose(variables);
  }
}
