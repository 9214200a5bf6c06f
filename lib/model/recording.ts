/** GPT-2 over a batch of responses: the log-prob of each of their tokens, and the way back to the weights. */
import { InputError } from '../errors';
import type { ResponseBatch } from '../text/responseBatch';
import { tf } from '../tf';
import type { GPT2Config } from './config';
import { Gradients } from './gradients';
import { blockBackward, layerNorm, layerNormBackward, type BlockSaved, type LayerNormSaved, type Read } from './layers';
import { release, scope, type Handle } from './handle';
import { add, argMaxLast, crossEntropy, floats, gather, matmul, mul, segmentSum, sumLast } from './ops';
import type { Weights } from './weights';

/** What the forward pass leaves for the backward pass. */
export type Saved = {
  readonly ids: Handle;
  readonly positions: Handle;
  readonly from: Handle;
  readonly blocks: BlockSaved[];
  readonly head: HeadSaved;
};

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

/**
 * The head where it is needed: the rows of x [N, C] that predict a scored token, their logits [M, V], and the log-probs of
 * the tokens that came, [M] in nats. Log-probs of the whole vocabulary are never held.
 *
 * @param options.statistics whether to look at the whole distributions, too, which takes another [M, V] for a moment.
 */
export function scoreTokens(x: Handle, from: Handle, labels: Handle, read: Read, epsilon: number, { statistics = false } = {}): { logps: Float32Array; statistics?: TokenStatistics; saved: HeadSaved } {
  using hidden = gather(x, from);
  const norm = layerNorm(hidden, read, 'ln_f', epsilon);
  using logits = matmul(norm.y, read('wte.weight'), { transposeY: true });
  const [losses, dLogits] = crossEntropy(logits, labels);
  const logps = (losses.values() as Float32Array).map((loss) => -loss);
  release(losses);
  return { logps, ...(statistics && { statistics: statisticsOf(logits, dLogits, logps) }), saved: { norm, dLogits } };
}

/** With dLogits = p - onehot, the entropy logsumexp(logits) - sum(p logits) is -log p(token) - sum(dLogits logits). */
function statisticsOf(logits: Handle, dLogits: Handle, logps: Float32Array): TokenStatistics {
  using likeliest = argMaxLast(logits);
  using products = mul(dLogits, logits);
  using sums = sumLast(products);
  const rest = sums.values();
  return { entropy: logps.map((logp, n) => -logp - rest[n]!), likeliest: likeliest.values() as Int32Array };
}

/** Log-probs [M] in the order of the scored tokens -> [R, L], 0 where a response has ended. */
export function byResponse(logps: Float32Array, { scored, responses }: ResponseBatch): tf.Tensor2D {
  const values = new Float32Array(responses[0] * responses[1]);
  scored.to.forEach((element, n) => (values[element] = logps[n]!));
  return tf.tensor2d(values, [...responses]);
}

/** A forward pass that can be followed back once. It holds the activations: dispose of it where no backward follows. */
export class Recording implements Disposable {
  #saved: Saved | undefined;

  constructor(
    /** [R, L] float32, in nats: log p(token | what came before), 0 where a response has ended. */
    readonly perTokenLogps: tf.Tensor2D,
    /** [R, L] int32: 1 on the responses' tokens. */
    readonly responseMask: tf.Tensor2D,
    private readonly batch: ResponseBatch,
    private readonly config: GPT2Config,
    private readonly weights: Weights,
    saved: Saved,
    /** Where the recording was asked for them. */
    readonly statistics?: TokenStatistics,
  ) {
    this.#saved = saved;
  }

  /**
   * From the gradient of a loss with respect to `perTokenLogps` to that with respect to each of `weights.trained`. They must
   * still be those of the forward pass. Frees the activations as it goes.
   *
   * @param gradient [R, L] float32. What it says where `responseMask` is 0 is not looked at.
   * @param wanted says of each whether its gradient is; it goes no deeper than the lowest block that has one. Default: all.
   * @throws InputError if the shape does not fit or this recording was used before.
   */
  backward(gradient: tf.Tensor2D, wanted: (name: string) => boolean = () => true): Gradients {
    const { responses, scored } = this.batch;
    if (gradient.shape.join() !== responses.join()) throw new InputError(`gradient must have shape [${responses}], got [${gradient.shape}]`);
    const saved = this.#saved;
    if (saved === undefined) throw new InputError('this recording was followed back or disposed of before; record the batch again');
    this.#saved = undefined;
    const dLogps = gradient.dataSync<'float32'>();
    const dLosses = Float32Array.from(scored.to, (element) => -dLogps[element]!); // a loss is -log p
    try {
      return new Gradients(scope(() => this.#backward(saved, floats(dLosses, [dLosses.length, 1]), wanted)));
    } finally {
      release(saved);
    }
  }

  #backward({ ids, positions, from, blocks, head }: Saved, dLosses: Handle, wanted: (name: string) => boolean): Map<string, Handle> {
    const { vocabSize, blockSize } = this.config;
    const [B, T] = this.batch.shape;
    const read = this.weights.reader();
    const made = new Map<string, Handle>();
    const gradients = this.weights.gradients(made, wanted);
    const embeddings = gradients.wants('wte.weight') || gradients.wants('wpe.weight');
    const depth = embeddings ? 0 : blocks.findIndex((_, layer) => this.weights.names.some((name) => name.startsWith(`h.${layer}.`) && gradients.wants(name)));

    // The gradient of the logits is dLogits * dLosses; the factor of each row goes to the smaller side of both products.
    using weighted = mul(head.norm.y, dLosses);
    using dHead = gradients.wants('wte.weight') ? matmul(head.dLogits, weighted, { transposeX: true }) : undefined;
    using unweighted = matmul(head.dLogits, read('wte.weight'));
    release(head.dLogits);
    using dNorm = mul(unweighted, dLosses);
    using dHidden = layerNormBackward(dNorm, head.norm.saved, read, 'ln_f', gradients);
    if (depth < 0) return made;
    let dx = segmentSum(dHidden, from, B * T);

    for (let layer = blocks.length - 1; layer >= depth; layer -= 1) {
      const before = blockBackward(dx, blocks[layer]!, read, `h.${layer}`, gradients);
      release(dx, blocks[layer]!);
      dx = before;
    }
    gradients.put('wpe.weight', () => segmentSum(dx, positions, blockSize));
    gradients.put('wte.weight', () => {
      using dTokens = segmentSum(dx, ids, vocabSize);
      return add(dHead!, dTokens); // the head is tied to the embedding
    });
    release(dx);
    return made;
  }

  /** Frees the activations; `perTokenLogps` and `responseMask` stay yours. */
  [Symbol.dispose](): void {
    release(this.#saved);
    this.#saved = undefined;
  }
}
