/** Logits -> log-probs of the tokens of a sequence. */
import { InputError } from '../errors';
import { binding, tensorId, tf, toTfjs } from '../tf';
import { masked, requireResponse, requireSameShape } from './mask';

/**
 * log p(inputIds[b, t + 1] | inputIds[b, 0..t]), in nats. The shift happens here: logits at t predict the token at
 * t + 1, so the first token has no log-prob and the last logits are not used.
 *
 * The naive form holds three arrays as large as the logits, and many more in its gradient:
 *
 *     const logProbs = tf.logSoftmax(logits.slice([0, 0, 0], [B, T - 1, V]));
 *     return tf.sum(tf.mul(logProbs, tf.oneHot(inputIds.slice([0, 1], [B, T - 1]), V)), -1);
 *
 * This implementation holds one: softmax - onehot, which is also its gradient.
 *
 * @param logits [B, T, V] float32, T at least 2. Differentiable.
 * @param inputIds [B, T] int32, each in [0, V).
 * @returns [B, T - 1] float32.
 * @throws InputError if the shapes or the dtype do not fit, or an id is outside the vocabulary.
 */
export function perTokenLogps(logits: tf.Tensor3D, inputIds: tf.Tensor2D): tf.Tensor2D {
  const [B, T, V] = logits.shape;
  if (logits.rank !== 3 || !tf.util.arraysEqual(inputIds.shape, [B, T])) {
    throw new InputError(`logits must be [B, T, V] and inputIds [B, T], got [${logits.shape}] and [${inputIds.shape}]`);
  }
  if (inputIds.dtype !== 'int32') throw new InputError(`inputIds must be int32, got ${inputIds.dtype}`);
  if (T < 2) throw new InputError('a sequence of one token has nothing to predict; give at least 2 tokens');
  const outside = inputIds.dataSync().find((id) => id < 0 || id >= V);
  if (outside !== undefined) throw new InputError(`id ${outside} is outside the vocabulary of ${V} that logits score`);

  return tf.tidy(() => {
    // Slicing off the last position would copy all logits, so it stays. Its label is arbitrary (the row's first token),
    // because its log-prob is dropped.
    const labels = tf.concat([inputIds.slice([0, 1], [B, T - 1]), inputIds.slice([0, 0], [B, 1])], 1);
    const scored = labelLogps(logits.reshape([B * T, V]), labels.reshape([B * T]));
    return scored.reshape<tf.Tensor2D>([B, T]).slice([0, 0], [B, T - 1]);
  });
}

/** log softmax(logits)[n, labels[n]] for logits [N, V] and labels [N]. tfjs has no gradient for gatherND. */
function labelLogps(logits: tf.Tensor, labels: tf.Tensor): tf.Tensor {
  return tf.customGrad((x, save) => {
    const [losses, gradient] = crossEntropy(x as tf.Tensor, labels);
    (save as tf.GradSaveFunc)([gradient]);
    return {
      value: losses.neg(),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => saved[0]!.mul(dy.neg().expandDims(1)),
    };
  })(logits);
}

/** TensorFlow's fused kernel: the losses [N] and their gradient softmax - onehot [N, V], in one pass. */
function crossEntropy(logits: tf.Tensor, labels: tf.Tensor): [losses: tf.Tensor, gradient: tf.Tensor] {
  const { TF_ATTR_TYPE: type, TF_FLOAT, TF_INT32 } = binding;
  const attributes = [
    { name: 'T', type, value: TF_FLOAT },
    { name: 'Tlabels', type, value: TF_INT32 },
  ];
  const inputs = [tensorId(logits), tensorId(labels)];
  const [losses, gradient] = binding.executeOp('SparseSoftmaxCrossEntropyWithLogits', attributes, inputs, 2);
  return [toTfjs(losses!), toTfjs(gradient!)];
}

/**
 * log p(response | prompt): the sum over the response's tokens, as in DPO (arXiv 2305.18290).
 *
 * @param tokenLogps [B, T - 1] from `perTokenLogps`. Differentiable.
 * @param responseMask [B, T]: 1 on the response's tokens, aligned with the ids. A 1 at position 0 has no log-prob.
 * @returns [B] float32, in nats.
 * @throws InputError if the shapes do not fit or a row has no response token.
 */
export function logps(tokenLogps: tf.Tensor2D, responseMask: tf.Tensor2D): tf.Tensor1D {
  return tf.tidy(() => masked(tokenLogps, shifted(responseMask, tokenLogps)).sum<tf.Tensor1D>(1));
}

/** The same divided by the number of response tokens: another objective, which ignores length. */
export function meanLogps(tokenLogps: tf.Tensor2D, responseMask: tf.Tensor2D): tf.Tensor1D {
  return tf.tidy(() => {
    const mask = shifted(responseMask, tokenLogps);
    return masked(tokenLogps, mask).sum(1).div<tf.Tensor1D>(mask.sum(1));
  });
}

/** The mask aligned with the log-probs: position t says whether token t + 1 belongs to the response. */
function shifted(responseMask: tf.Tensor2D, tokenLogps: tf.Tensor2D): tf.Tensor2D {
  const [B, T] = responseMask.shape;
  const mask = responseMask.slice([0, 1], [B, T - 1]);
  requireSameShape(2, { tokenLogps, 'responseMask[:, 1:]': mask });
  requireResponse(mask);
  return mask;
}
