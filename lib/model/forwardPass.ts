/**
 * GPT-2's heads over a batch of responses: the log-prob of each of their tokens (and its value), and the way back to
 * the weights.
 */
import { headGradient, type Gradient } from '../engine/embeddingGradient';
import type { Gradients } from '../engine/gradients';
import { release, type Handle } from '../engine/handle';
import { layerNorm, layerNormBackward, type LayerNormSaved, type Read } from '../engine/layers';
import { add, argMaxLast, biasAdd, crossEntropy, floats, matmul, mul, scalar, sumLast, sumRows } from '../engine/ops';
import { trunkBackward, type TrunkSaved } from '../engine/transformer';
import { InputError } from '../errors';
import type { GPT2Config } from '../formats/config';
import type { ResponseBatch } from '../text/responseBatch';
import { tf } from '../tf';
import { FollowedOnce } from './followed';
import { suppression } from './sampling';
import type { Weights } from './weights';

/** What the forward pass leaves for the backward pass. */
export type Saved = TrunkSaved & { readonly head: HeadSaved };

type HeadSaved = {
  readonly norm: { readonly y: Handle; readonly saved: LayerNormSaved };
  /** [M, V]: softmax - onehot, for each of the M scored tokens. */
  readonly dLogits: Handle;
};

/** What the model thought at each of the M scored tokens, response after response. */
export interface TokenStatistics {
  /** [M], in nats: the entropy of the next token's distribution, 0 where the model is certain. */
  readonly entropy: Float32Array;
  /** [M]: the token that it held likeliest. */
  readonly likeliest: Int32Array;
}

export interface HeadOptions {
  /** Whether to look at the whole distributions, too, which takes another [M, V] for a moment. Default false. */
  statistics?: boolean;
  /** Divides the logits, as in sampling: log-probs are then those of what was drawn from. Default 1. */
  temperature?: number;
  /** Ids that were never drawn, and take no share of the distribution, as in sampling. Default: none. */
  suppressTokens?: readonly number[] | undefined;
}

/** Of the M scored tokens. */
export interface Scored {
  /** [M], in nats. */
  readonly logps: Float32Array;
  /** [M], where the model has a value head. */
  readonly values?: Float32Array;
  readonly statistics?: TokenStatistics;
}

/**
 * The heads where they are needed: from the hidden states [M, C] that predict a scored token, their logits [M, V], and
 * the log-probs
 * of the tokens that came. Log-probs of the whole vocabulary are never held. A token's value is that of the state
 * before it.
 *
 * @param weights says which is the head, and whether there is one for values.
 */
export function scoreTokens(
  hidden: Handle,
  labels: Handle,
  read: Read,
  weights: Weights,
  epsilon: number,
  { statistics = false, temperature = 1, suppressTokens = [] }: HeadOptions,
): Scored & { saved: HeadSaved } {
  const norm = layerNorm(hidden, read, 'ln_f', epsilon);
  const values = weights.hasValueHead ? valuesOf(norm.y, read) : undefined;
  const unsuppressed =
    temperature === 1
      ? matmul(norm.y, read(weights.headName), { transposeY: true })
      : temperedLogits(norm.y, read(weights.headName), temperature);
  using logits = suppressTokens.length === 0 ? unsuppressed : suppressed(unsuppressed, suppressTokens);
  const [losses, dLogits] = crossEntropy(logits, labels);
  const logps = (losses.values() as Float32Array).map((loss) => -loss);
  release(losses);
  return {
    logps,
    ...(values && { values }),
    ...(statistics && { statistics: statisticsOf(logits, dLogits, logps) }),
    saved: { norm, dLogits },
  };
}

/** The smaller factor of the product is divided, not the product. */
function temperedLogits(y: Handle, head: Handle, temperature: number): Handle {
  using factor = scalar(1 / temperature);
  using cooled = mul(y, factor);
  return matmul(cooled, head, { transposeY: true });
}

/**
 * Their probability, and so their gradient, is exactly 0; -Infinity would make the entropy NaN. Takes over `logits`.
 */
function suppressed(logits: Handle, suppressTokens: readonly number[]): Handle {
  using all = logits;
  const V = all.shape[1]!;
  using added = floats(suppression(V, suppressTokens, -1e9), [V]);
  return biasAdd(all, added);
}

function valuesOf(y: Handle, read: Read): Float32Array {
  using product = matmul(y, read('v_head.weight'));
  using values = biasAdd(product, read('v_head.bias'));
  return values.values() as Float32Array;
}

/** With dLogits = p - onehot, the entropy logsumexp(logits) - sum(p logits) is -log p(token) - sum(dLogits logits). */
function statisticsOf(logits: Handle, dLogits: Handle, logps: Float32Array): TokenStatistics {
  using likeliest = argMaxLast(logits);
  using products = mul(dLogits, logits);
  using sums = sumLast(products);
  const rest = sums.values();
  return { entropy: logps.map((logp, n) => -logp - rest[n]!), likeliest: likeliest.values() as Int32Array };
}

/** A number for each scored token, [M] -> [R, L], 0 where a response has ended. */
export function byResponse(ofTokens: Float32Array, { scored, responses }: ResponseBatch): tf.Tensor2D {
  const values = new Float32Array(responses[0] * responses[1]);
  scored.to.forEach((element, n) => (values[element] = ofTokens[n]!));
  return tf.tensor2d(values, [...responses]);
}

/** A forward pass over a batch, and the way back. */
export class Recording extends FollowedOnce<Saved> {
  /** [R, L] float32, in nats: log p(token | what came before), 0 where a response has ended. */
  readonly perTokenLogps: tf.Tensor2D;
  /**
   * [R, L] float32, of a model with a value head: what it expects from the state before each token, 0 where a response
   * has ended.
   */
  readonly values?: tf.Tensor2D;
  /** [R, L] int32: 1 on the responses' tokens. */
  readonly responseMask: tf.Tensor2D;
  /** Where the recording was asked for them. */
  readonly statistics?: TokenStatistics;

  constructor(
    private readonly batch: ResponseBatch,
    private readonly config: GPT2Config,
    private readonly weights: Weights,
    { logps, values, statistics, saved }: Scored & { saved: Saved },
    private readonly temperature: number,
  ) {
    super(saved);
    this.perTokenLogps = byResponse(logps, batch);
    this.responseMask = tf.tensor2d(batch.responseMask, [...batch.responses], 'int32');
    if (values) this.values = byResponse(values, batch);
    if (statistics) this.statistics = statistics;
  }

  /**
   * From the gradient of a loss with respect to `perTokenLogps`, and that with respect to `values` if it has one, to
   * that with
   * respect to each of `weights.trained`. They must still be those of the forward pass. Frees the activations as it
   * goes.
   *
   * @param gradient [R, L] float32. What it says where `responseMask` is 0 is not looked at.
   * @param wanted says of each whether its gradient is; it goes no deeper than the lowest block that has one. Default:
   *   all.
   * @param valueGradient [R, L] float32, of a model with a value head.
   * @throws InputError if a shape does not fit, there are no values, or this recording was used before.
   */
  backward(
    gradient: tf.Tensor2D,
    wanted: (name: string) => boolean = () => true,
    valueGradient?: tf.Tensor2D,
  ): Gradients {
    const dLogps = this.#ofTokens('gradient', gradient);
    const dValues = valueGradient && this.#ofTokens('valueGradient', valueGradient);
    if (dValues && !this.values)
      throw new InputError('this model has no value head, so there is no gradient of values');
    const dLosses = dLogps.map((dLogp) => -dLogp / this.temperature); // a loss is -log p, and logits were divided
    return this.follow((saved) =>
      this.#backward(
        saved,
        floats(dLosses, [dLosses.length, 1]),
        wanted,
        dValues && floats(dValues, [dValues.length, 1]),
      ),
    );
  }

  /** [R, L] -> [M]. */
  #ofTokens(name: string, gradient: tf.Tensor2D): Float32Array {
    const { responses, scored } = this.batch;
    if (gradient.shape.join() !== responses.join())
      throw new InputError(`${name} must have shape [${responses}], got [${gradient.shape}]`);
    const values = gradient.dataSync<'float32'>();
    return Float32Array.from(scored.to, (element) => values[element]!);
  }

  #backward(
    { head, ...trunk }: Saved,
    dLosses: Handle,
    wanted: (name: string) => boolean,
    dValues?: Handle,
  ): Map<string, Gradient> {
    const read = this.weights.reader();
    const made = new Map<string, Gradient>();
    const gradients = this.weights.gradients(made, wanted);

    // The gradient of the logits is dLogits * dLosses; the factor of each row goes to the smaller side of both
    // products.
    using weighted = mul(head.norm.y, dLosses);
    const tied = this.weights.headName === 'wte.weight';
    const dHead = tied && gradients.wants('wte.weight') ? headGradient(head.dLogits, weighted) : undefined;
    if (!tied) gradients.put(this.weights.headName, () => matmul(head.dLogits, weighted, { transposeX: true }));
    using unweighted = matmul(head.dLogits, read(this.weights.headName));
    release(head.dLogits);
    let dNorm = mul(unweighted, dLosses);
    if (dValues) {
      gradients.put('v_head.weight', () => matmul(head.norm.y, dValues, { transposeX: true }));
      gradients.put('v_head.bias', () => sumRows(dValues));
      using throughLogits = dNorm;
      using throughValues = matmul(dValues, read('v_head.weight'), { transposeY: true });
      dNorm = add(throughLogits, throughValues);
    }
    using dHidden = layerNormBackward(dNorm, head.norm.saved, read, 'ln_f', gradients);
    release(dNorm);
    trunkBackward(dHidden, trunk, read, this.config, this.weights.names, gradients, dHead);
    return made;
  }
}
