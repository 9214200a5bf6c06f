/** GPT-2: token ids -> logits. */
import { join } from 'node:path';

import { release, scope, type Handle } from '../engine/handle';
import { hiddenStates, requireBelow } from '../engine/hiddenStates';
import { layerNorm, type Read } from '../engine/layers';
import { ints, reshape } from '../engine/ops';
import { matmul } from '../engine/products';
import { attentionBias, transformer } from '../engine/transformer';
import { InputError, plural } from '../errors';
import { readConfig, type GPT2Config } from '../formats/config';
import { readPeftAdapter } from '../formats/peftAdapter';
import type { DownloadOptions } from '../hub/repository';
import type { ResponseBatch } from '../text/responseBatch';
import { type tf } from '../tf';
import { addDifferences } from './adapters';
import type { HeldDType } from './checkpointWeights';
import { weightsFiles } from './folder';
import {
  byResponse,
  ForwardPass,
  keptForBackward,
  type KeptForBackward,
  type RecordOptions,
  type Saved,
} from './forwardPass';
import { scoreTokens, type HeadOptions, type TokenScores, type TokenStatistics } from './heads';
import { Weights } from './weights';

export interface ForwardOptions {
  /** [B, T] int32, 1 or 0: no token attends to a key with 0. Default: all 1. */
  attentionMask?: tf.Tensor2D;
  /** [B, T] int32: default 0, 1, 2, …; with padding on the left, begin at the first real token. */
  positionIds?: tf.Tensor2D;
}

/** The distribution whose log-probs are measured. */
type MeasureOptions = Pick<HeadOptions, 'temperature' | 'suppressTokens'>;

export interface Measured {
  /** [R, L] float32, in nats. */
  perTokenLogps: tf.Tensor2D;
  /** [R, L] float32, if the model has a value head. */
  values?: tf.Tensor2D;
  statistics: TokenStatistics;
}

export interface LoadOptions extends DownloadOptions {
  /**
   * How the matrices of the blocks are held. BF16 takes half the memory: each number is rounded once, by at most 1/256
   * of it, and computed with in float32 (or as ALIGNBOOK_COMPUTE says). Embeddings, head and vectors stay in F32: cast
   * for its product, the head alone would take more than it saves. Such a model is fixed; adapters can be trained on it
   * (see `lora`). Default F32.
   */
  dtype?: HeldDType | undefined;
}

export class GPT2 {
  constructor(
    readonly config: GPT2Config,
    readonly weights: Weights,
  ) {}

  /**
   * @param model `tiny` (the embedded model); a name on the Hugging Face hub such as `gpt2`, downloaded on first use,
   *   with `@` and a branch, tag or commit to pin a revision; or a folder with config.json and model.safetensors. A
   *   folder or a name of a PEFT adapter gives its base model with the adapter merged.
   * @throws InputError if there is no such model, HubError if it cannot be downloaded, FileError if its files are
   *   malformed or not those of a GPT-2.
   */
  static async fromPretrained(model: string, { dtype, ...options }: LoadOptions = {}): Promise<GPT2> {
    const { folder, adapter } = await weightsFiles(model, options);
    const config = readConfig(join(folder, 'config.json'));
    const differences = adapter === null ? undefined : readPeftAdapter(adapter).differences;
    const weights = Weights.load(folder, config, {}, dtype);
    try {
      if (differences) addDifferences(weights, differences, adapter!);
    } catch (error) {
      weights.dispose();
      throw error;
    }
    return new GPT2(config, weights);
  }

  /**
   * Logits of the next token at every position.
   *
   * @param inputIds [B, T] int32, T at most `blockSize`.
   * @returns logits [B, T, V] float32; `logits[b, t]` scores the token at t + 1.
   * @throws InputError if a shape or an id does not fit.
   */
  forward(inputIds: tf.Tensor2D, options: ForwardOptions = {}): { logits: tf.Tensor3D } {
    const [B, T] = inputIds.shape;
    const logits = this.#fromHidden(inputIds, options, (y, read) =>
      reshape(matmul(y, read(this.weights.headName), { transposeY: true }), [B, T, this.config.vocabSize]),
    );
    return { logits: logits as tf.Tensor3D };
  }

  /**
   * The hidden states that the head turns into logits: the last block's output after the final layer norm.
   *
   * @returns [B, T, C] float32.
   * @throws InputError as `forward` does.
   */
  hidden(inputIds: tf.Tensor2D, options: ForwardOptions = {}): tf.Tensor3D {
    const [B, T] = inputIds.shape;
    return this.#fromHidden(inputIds, options, (y) => reshape(y, [B, T, this.config.nEmbd])) as tf.Tensor3D;
  }

  /** Applies `last` to the normalized hidden states [N, C]. */
  #fromHidden(
    inputIds: tf.Tensor2D,
    { attentionMask, positionIds }: ForwardOptions,
    last: (y: Handle, read: Read) => Handle,
  ): tf.Tensor {
    const { blockSize, vocabSize } = this.config;
    const [B, T] = inputIds.shape;
    if (T < 1 || T > blockSize)
      throw new InputError(`inputIds have ${plural(T, 'position')}; this model takes 1 to ${blockSize}`);
    const ids = integers('inputIds', inputIds, [B, T], vocabSize);
    const mask = attentionMask && integers('attentionMask', attentionMask, [B, T], 2);
    const positions = positionIds ? integers('positionIds', positionIds, [B, T], blockSize) : countUp(B, T);

    const result = scope(() => {
      const read: Read = (name) => this.weights.read(name);
      const { y: x } = transformer(
        ints(ids, [B * T]),
        ints(positions, [B * T]),
        attentionBias(causal(B, T, mask), [B, T, T]),
        read,
        this.config,
      );
      return last(layerNorm(x, read, 'ln_f', this.config.layerNormEpsilon).y, read);
    });
    return result.toTensor();
  }

  /**
   * Log-probs of the responses' tokens, in nats.
   *
   * @returns [R, L] float32, 0 where a response has ended.
   * @throws InputError if an id or a position does not fit the model.
   */
  score(batch: ResponseBatch, options: MeasureOptions = {}): tf.Tensor2D {
    const { logps, saved } = this.#scored(batch, 'nothing', options);
    release(saved);
    return byResponse(logps, batch);
  }

  /** The same, with statistics of the model's distributions, and values if it has a value head. */
  measure(batch: ResponseBatch, options: MeasureOptions = {}): Measured {
    const { logps, values, statistics, saved } = this.#scored(batch, 'nothing', { ...options, statistics: true });
    release(saved);
    return {
      perTokenLogps: byResponse(logps, batch),
      ...(values && { values: byResponse(values, batch) }),
      statistics: statistics!,
    };
  }

  /** The log-probs and values of `measure`, keeping what a backward pass needs; statistics only if asked for. */
  record(batch: ResponseBatch, options: HeadOptions & RecordOptions = {}): ForwardPass {
    const scored = this.#scored(batch, keptForBackward(options), options);
    return new ForwardPass(batch, this.config, this.weights, scored, options.temperature ?? 1);
  }

  #scored(
    batch: ResponseBatch,
    keep: 'nothing' | KeptForBackward,
    options: HeadOptions,
  ): TokenScores & { saved: Saved } {
    const { temperature = 1 } = options;
    if (!(temperature > 0 && temperature < Infinity))
      throw new InputError(`temperature must be a number above 0, got ${temperature}`);
    return scope(() => {
      const read: Read = (name) => this.weights.read(name);
      const { ids, from } = batch.scored;
      const { hidden, saved: below } = hiddenStates(batch, from, read, this.config, keep); // [M, C]
      const labels = ints(ids, [ids.length]);
      const { layerNormEpsilon } = this.config;
      const { saved: heads, ...scores } = scoreTokens(hidden, labels, read, this.weights, layerNormEpsilon, options);
      return { ...scores, saved: { ...below, heads } };
    });
  }

  dispose(): void {
    this.weights.dispose();
  }
}

/** The values of an int32 tensor of the given shape, each from 0 to `limit` - 1. */
function integers(name: string, tensor: tf.Tensor2D, shape: readonly number[], limit: number): Int32Array {
  if (tensor.shape.join() !== shape.join())
    throw new InputError(`${name} must have shape [${shape}], got [${tensor.shape}]`);
  if (tensor.dtype !== 'int32') throw new InputError(`${name} must be int32, got ${tensor.dtype}`);
  const values = tensor.dataSync<'int32'>();
  requireBelow(name, values, limit);
  return values.slice(); // its owner may change or free the tensor's memory
}

/** Positions 0 to T - 1 in each of B rows. */
function countUp(B: number, T: number): Int32Array {
  return Int32Array.from({ length: B * T }, (_, i) => i % T);
}

/** [B, T, T]: 1 where query t may attend to key s, that is s <= t and s is not masked. */
function causal(B: number, T: number, mask?: Int32Array): Uint8Array {
  const visible = new Uint8Array(B * T * T);
  for (let b = 0; b < B; b += 1) {
    for (let t = 0; t < T; t += 1) {
      for (let s = 0; s <= t; s += 1) visible[(b * T + t) * T + s] = mask?.[b * T + s] ?? 1;
    }
  }
  return visible;
}
