/** GPT-2: token ids -> logits. */
import { join } from 'node:path';

import { InputError } from '../errors';
import { modelFolder } from '../hub';
import { type tf } from '../tf';
import { readConfig, type GPT2Config } from './config';
import { block, layerNorm, type Read } from './layers';
import { add, floats, gather, ints, matmul, release, reshape, scope, type Handle } from './ops';
import { Weights } from './weights';

export interface ForwardOptions {
  /** [B, T] of 1 and 0: keys with 0 are never looked at. Default: all 1. */
  attentionMask?: tf.Tensor2D;
  /** [B, T]: default 0, 1, 2, …; with padding on the left, let them begin at the first real token. */
  positionIds?: tf.Tensor2D;
}

/** Added to the scores of forbidden keys: their weight is then exactly 0 in float32. */
const FORBIDDEN = -1e9;

export class GPT2 {
  constructor(
    readonly config: GPT2Config,
    readonly weights: Weights,
  ) {}

  /**
   * @param model `tiny` (the embedded model), the name of a model in the Hugging Face cache such as `gpt2`, or a folder
   *   with config.json and model.safetensors.
   * @throws InputError if there is no such model, FileError if its files are malformed or not GPT-2's.
   */
  static async fromPretrained(model: string): Promise<GPT2> {
    const folder = modelFolder(model);
    const config = readConfig(join(folder, 'config.json'));
    return new GPT2(config, Weights.load(join(folder, 'model.safetensors'), config));
  }

  /**
   * Logits of the next token at every position.
   *
   * @param inputIds [B, T] int32, T at most `blockSize`.
   * @returns logits [B, T, V] float32; `logits[b, t]` scores the token at t + 1.
   * @throws InputError if a shape or an id does not fit.
   */
  forward(inputIds: tf.Tensor2D, { attentionMask, positionIds }: ForwardOptions = {}): { logits: tf.Tensor3D } {
    const { blockSize, vocabSize } = this.config;
    const [B, T] = inputIds.shape;
    if (T < 1 || T > blockSize) throw new InputError(`inputIds have ${T} positions; this model takes 1 to ${blockSize}`);
    const ids = integers('inputIds', inputIds, [B, T], vocabSize);
    const mask = attentionMask && integers('attentionMask', attentionMask, [B, T], 2);
    const positions = positionIds ? integers('positionIds', positionIds, [B, T], blockSize) : countUp(B, T);

    const logits = scope(() => {
      const read = this.weights.reader();
      const { y } = this.#blocks(ints(ids, [B * T]), ints(positions, [B * T]), attentionBias(B, T, mask), read);
      return reshape(this.#head(y, read), [B, T, vocabSize]);
    });
    return { logits: logits.toTensor() as tf.Tensor3D };
  }

  dispose(): void {
    this.weights.dispose();
  }

  /** Embeddings and blocks: ids [N], positions [N] -> [N, C], before the final layer norm. */
  #blocks(ids: Handle, positions: Handle, bias: Handle, read: Read, { keep = false } = {}) {
    const { nLayer, nHead, layerNormEpsilon: epsilon } = this.config;
    const saved: ReturnType<typeof block>['saved'][] = [];
    using tokens = gather(read('wte.weight'), ids);
    using places = gather(read('wpe.weight'), positions);
    let x = add(tokens, places);
    for (let layer = 0; layer < nLayer; layer += 1) {
      const result = block(x, bias, read, `h.${layer}`, { nHead, epsilon });
      release(x);
      x = result.y;
      if (keep) saved.push(result.saved);
      else release(result.saved);
    }
    return { y: x, saved };
  }

  /** The final layer norm and the head, which is tied to the token embedding: [N, C] -> [N, V]. */
  #head(x: Handle, read: Read): Handle {
    const { y, saved } = layerNorm(x, read, 'ln_f', this.config.layerNormEpsilon);
    release(saved);
    using normalized = y;
    return matmul(normalized, read('wte.weight'), { transposeY: true });
  }
}

/** The values of an int32 tensor of the given shape, each from 0 to `limit` - 1. */
function integers(name: string, tensor: tf.Tensor2D, shape: readonly number[], limit: number): Int32Array {
  if (tensor.shape.join() !== shape.join()) throw new InputError(`${name} must have shape [${shape}], got [${tensor.shape}]`);
  if (tensor.dtype !== 'int32') throw new InputError(`${name} must be int32, got ${tensor.dtype}`);
  const values = tensor.dataSync<'int32'>() as Int32Array;
  const wrong = values.find((value) => value < 0 || value >= limit);
  if (wrong !== undefined) throw new InputError(`${name} must lie from 0 to ${limit - 1}, got ${wrong}`);
  return values.slice(); // the tensor's own memory may be changed or freed by its owner
}

/** Positions 0 to T - 1 in each of B rows. */
function countUp(B: number, T: number): Int32Array {
  return Int32Array.from({ length: B * T }, (_, i) => i % T);
}

/** [B, T, T]: what attention adds to the score of query t and key s: nothing where s <= t and s is not masked. */
function attentionBias(B: number, T: number, mask?: Int32Array): Handle {
  const bias = new Float32Array(B * T * T).fill(FORBIDDEN);
  for (let b = 0; b < B; b += 1) {
    for (let t = 0; t < T; t += 1) {
      for (let s = 0; s <= t; s += 1) {
        if (mask === undefined || mask[b * T + s] === 1) bias[(b * T + t) * T + s] = 0;
      }
    }
  }
  return floats(bias, [B, T, T]);
}
