/** GPT-2's weights: a checkpoint's tensors, held as TensorFlow variables under GPT-2's own names. */
import type { Gradient } from '../engine/embeddingGradient';
import { release, scope, type Handle } from '../engine/handle';
import type { Read, WeightGradients } from '../engine/layers';
import { empty, floats, ints, l2, putRows, readVariable, variable } from '../engine/ops';
import { Variables } from '../engine/variables';
import { FileError, quoted } from '../errors';
import { Checkpoint } from '../formats/checkpoint';
import type { GPT2Config } from '../formats/config';
import { tf } from '../tf';

/** A model whose weights a trainer changes. */
export interface Trainable {
  readonly config: GPT2Config;
  readonly weights: Weights;
  /** Of a reward model: where its scores are read (`RewardModel`). */
  readonly padTokenId?: number | null;
}

/** A reward model's scalar head, as transformers' GPT2ForSequenceClassification names it. */
export const SCORE_HEAD = 'score.weight';

/** The head of a language model that is not tied to the embedding, `wte.weight`. */
export const LM_HEAD = 'lm_head.weight';

/**
 * The name and shape of every weight, in the order of the forward pass. Matrices are [in, out], but for the heads,
 * which are [out, in].
 */
export function weightShapes(
  { nLayer, nEmbd: C, nInner = 4 * C, blockSize, vocabSize, untiedHead }: GPT2Config,
  { scoreHead = false } = {},
): Map<string, readonly number[]> {
  const norm = (name: string) =>
    [
      [`${name}.weight`, [C]],
      [`${name}.bias`, [C]],
    ] as const;
  const linear = (name: string, from: number, to: number) =>
    [
      [`${name}.weight`, [from, to]],
      [`${name}.bias`, [to]],
    ] as const;
  const blocks = Array.from({ length: nLayer }, (_, layer) => `h.${layer}`).flatMap((h) => [
    ...norm(`${h}.ln_1`),
    ...linear(`${h}.attn.c_attn`, C, 3 * C),
    ...linear(`${h}.attn.c_proj`, C, C),
    ...norm(`${h}.ln_2`),
    ...linear(`${h}.mlp.c_fc`, C, nInner),
    ...linear(`${h}.mlp.c_proj`, nInner, C),
  ]);
  return new Map<string, readonly number[]>([
    ['wte.weight', [vocabSize, C]],
    ['wpe.weight', [blockSize, C]],
    ...blocks,
    ...norm('ln_f'),
    ...(untiedHead && !scoreHead ? [[LM_HEAD, [vocabSize, C]] as const] : []),
    ...(scoreHead ? [[SCORE_HEAD, [1, C]] as const] : []),
  ]);
}

/** Buffers of the causal mask, kept in old checkpoints, and the head, which is tied to wte. */
const IGNORED = /^(h\.\d+\.attn\.(masked_)?bias|lm_head\.weight)$/;

/**
 * What torch's DistributedDataParallel and torch.compile put into names, at whatever they wrap: a model, its trunk,
 * each block.
 */
const WRAPPERS = /(?<=^|\.)(module|_orig_mod)\./g;
/** The value head that TRL's PPO put beside a policy; transformers passes over it, too. */
const VALUE_HEAD = /^v_head\./;

/** GPT-2's name of a checkpoint's tensor. */
export const weightName = (key: string): string => key.replace(WRAPPERS, '').replace(/^transformer\./, '');

/** Models that have been said to come with a value head: once is enough. */
const toldOf = new Set<string>();

export class Weights extends Variables {
  /**
   * Reads a model folder's model.safetensors or its shards: F32, F16 or BF16, keys with or without the prefix
   * `transformer.`, and with
   * `module.` and `_orig_mod.` in them or not. A value head (`v_head.…`) is passed over, with a line on the standard
   * error.
   *
   * @throws FileError if a file is malformed, or a tensor is missing, unknown, or of another shape than the config's.
   */
  static load(folder: string, config: GPT2Config, heads: { scoreHead?: boolean } = {}): Weights {
    using checkpoint = Checkpoint.open(folder);
    const { path, tensors } = checkpoint;
    if (config.nLayer > tensors.size)
      throw new FileError(
        path,
        `has ${tensors.size} tensors, which are not ${config.nLayer} layers ("n_layer" in its config.json)`,
      );
    const stored = new Map<string, string>(); // GPT-2's name -> the checkpoint's
    const shapes = weightShapes(config, heads);
    const unknown: string[] = [];
    const passedOver: string[] = [];
    for (const key of tensors.keys()) {
      const name = weightName(key);
      if (VALUE_HEAD.test(name)) {
        passedOver.push(key);
        continue;
      }
      if (name === SCORE_HEAD && !heads.scoreHead)
        throw new FileError(
          path,
          `has a "${SCORE_HEAD}", so it is a reward model, which writes no text; RewardModel.fromPretrained opens it, and "alignbook score" scores with it`,
        );
      if (!shapes.has(name) && !IGNORED.test(name)) unknown.push(key);
      if (stored.has(name))
        throw new FileError(
          path,
          `has the tensor "${name}" twice, as ${quoted(stored.get(name)!)} and as ${quoted(key)}`,
        );
      stored.set(name, key);
    }
    if (unknown[0] !== undefined)
      throw new FileError(
        path,
        `has a tensor ${quoted(unknown[0])} that is not GPT-2's${unknown.length === 1 ? '' : `, and ${unknown.length - 1} more`}; save the model alone, with transformers' save_pretrained`,
      );
    if (passedOver.length > 0 && !toldOf.has(path)) {
      toldOf.add(path);
      console.error(`${path}: ${passedOver.join(', ')}: a value head, which is passed over`);
    }
    for (const [name, shape] of shapes) {
      const entry = tensors.get(stored.get(name) ?? '');
      if (entry === undefined && name === LM_HEAD)
        throw new FileError(
          path,
          `lacks the tensor "${LM_HEAD}", and its config.json says that the head is not tied to the embedding; save the model again with its head, or take "tie_word_embeddings": false out if it was tied`,
        );
      if (entry === undefined) throw new FileError(path, `lacks the tensor "${name}" of the model in its config.json`);
      if (name === SCORE_HEAD && entry.shape[0] !== 1)
        throw new FileError(
          path,
          `its "${SCORE_HEAD}" has ${entry.shape[0]} labels; a reward model has one (num_labels=1)`,
        );
      if (entry.shape.join() !== shape.join()) {
        throw new FileError(
          path,
          `tensor "${name}" is [${entry.shape.join(', ')}]; its config.json asks for [${shape.join(', ')}]`,
        );
      }
    }
    const head = shapes.has(LM_HEAD) || heads.scoreHead ? undefined : stored.get(LM_HEAD);
    if (head !== undefined && !same(checkpoint.float32(head), checkpoint.float32(stored.get('wte.weight')!))) {
      throw new FileError(
        path,
        'its lm_head.weight is not its wte.weight, but its config.json ties them; if the head is its own, set "tie_word_embeddings" to false there',
      );
    }
    const variables = new Map<string, Handle>();
    const read = inParts(checkpoint);
    try {
      for (const [name, shape] of shapes) {
        const values = read(stored.get(name)!, shape);
        requireFinite(values, path, stored.get(name)!, () => checkpoint.float32(stored.get(name)!));
        variables.set(name, variable(values));
      }
    } catch (error) {
      release(variables);
      throw error;
    }
    return new Weights(variables, shapes);
  }

  /** Takes values as they are; each must have its weight's size. They must not be changed afterwards. */
  static from(
    values: ReadonlyMap<string, Float32Array>,
    config: GPT2Config,
    heads: { scoreHead?: boolean } = {},
  ): Weights {
    const shapes = weightShapes(config, heads);
    return new Weights(
      new Map([...shapes].map(([name, shape]) => [name, variable(floats(values.get(name)!, shape))])),
      shapes,
    );
  }

  /** The matrix [V, C] that makes logits of hidden states. */
  get headName(): string {
    return this.names.includes(LM_HEAD) ? LM_HEAD : 'wte.weight';
  }

  get hasValueHead(): boolean {
    return this.names.includes('v_head.weight');
  }

  /** What a trainer changes and a checkpoint keeps: the weights themselves. */
  get trained(): Variables {
    return this;
  }

  /** Reads weights by name, each once; what it returns belongs to the open `scope`. */
  reader(): Read {
    const handles = new Map<string, Handle>();
    return (name) => {
      const handle = handles.get(name) ?? this.read(name);
      handles.set(name, handle);
      return handle;
    };
  }

  protected read(name: string): Handle {
    return readVariable(this.variable(name));
  }

  /** Takes gradients of the weights, and puts those of what is `trained` into `made`, as far as they are wanted. */
  gradients(made: Map<string, Gradient>, wanted: (name: string) => boolean): WeightGradients {
    return { wants: wanted, put: (name, make) => void (wanted(name) && made.set(name, make())) };
  }
}

/**
 * A weight that is no number makes every result one, in silence: a softmax of NaN is NaN, and the largest of NaNs is
 * the first token. The sum
 * of squares, which is not finite then, takes a few per cent of the time that reading does.
 *
 * @throws FileError naming the tensor and the first such element.
 */
function requireFinite(tensor: Handle, path: string, name: string, read: () => Float32Array): void {
  using half = l2(tensor);
  if (Number.isFinite(half.values()[0])) return;
  const values = read();
  const wrong = values.findIndex((value) => !Number.isFinite(value));
  if (wrong < 0) return; // large numbers, whose squares are not
  throw new FileError(
    path,
    `tensor ${quoted(name)} holds ${values[wrong]} at element ${wrong}: the file is damaged, or its training came apart; take another copy, or an earlier checkpoint`,
  );
}

/** Values that are read at once: 4 MB. */
const PART = 2 ** 20;

/**
 * Reads tensors into memory of TensorFlow's own, by way of one small array. An array as large as the tensor would stay
 * until JavaScript's
 * memory is next cleaned up, and the smaller ones leave holes: of 500 MB that was some 50.
 */
function inParts(checkpoint: Checkpoint): (name: string, shape: readonly number[]) => Handle {
  const part = new Float32Array(PART);
  return (name, shape) => {
    const [rows, ...row] = shape as [number, ...number[]];
    const length = tf.util.sizeFromShape(row);
    const atOnce = Math.floor(PART / length);
    if (rows <= atOnce || length > PART) return floats(checkpoint.float32(name), shape);
    return scope(() => {
      let whole = empty(shape);
      for (let from = 0; from < rows; from += atOnce) {
        const count = Math.min(atOnce, rows - from);
        const values = checkpoint.readFloat32(name, from * length, part.subarray(0, count * length));
        const places = ints(
          Int32Array.from({ length: count }, (_, n) => from + n),
          [count],
        );
        using read = floats(values, [count, ...row]); // gone before `part` changes
        whole = putRows(whole, places, read);
      }
      return whole;
    });
  };
}

const same = (x: Float32Array, y: Float32Array): boolean => Buffer.from(x.buffer).equals(Buffer.from(y.buffer));
