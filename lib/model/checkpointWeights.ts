/** A model folder's checkpoint -> GPT-2's weights, checked against the architecture in its config.json. */
import { release, scope, type Handle } from '../engine/handle';
import { empty, floats, inBfloat16, ints, l2, putRows, variable } from '../engine/ops';
import { FileError, plural, quoted } from '../errors';
import { Checkpoint } from '../formats/checkpoint';
import type { GPT2Config } from '../formats/config';
import { tf } from '../tf';
import { LM_HEAD, SCORE_HEAD, weightName, weightShapes } from './weightShapes';

/** The formats in which the matrices of a model's blocks can be held; embeddings, head and vectors are in F32. */
export type HeldDType = 'F32' | 'BF16';

export interface Heads {
  /** Whether the model has a reward model's scalar head. Default false. */
  scoreHead?: boolean;
}

type Shapes = ReadonlyMap<string, readonly number[]>;

/** Buffers of the causal mask, which old checkpoints keep, and the head, if it is tied to wte. */
const IGNORED = /^(h\.\d+\.attn\.(masked_)?bias|lm_head\.weight)$/;

/** The value head that TRL's PPO puts beside a policy; transformers ignores it too. */
const VALUE_HEAD = /^v_head\./;

/** Checkpoints whose value head has been reported: once is enough. */
const reported = new Set<string>();

/** GPT-2's weights as variables, which the caller owns. @throws FileError as `Weights.load` does. */
export function readCheckpointWeights(
  folder: string,
  config: GPT2Config,
  heads: Heads,
  dtype: HeldDType,
): Map<string, Handle> {
  using checkpoint = Checkpoint.open(folder);
  requireLayers(checkpoint, config); // first: the shapes are a list as long as the config says
  const shapes = weightShapes(config, heads);
  const keys = keysByName(checkpoint, shapes, heads);
  requireShapes(checkpoint, keys, shapes);
  if (!shapes.has(LM_HEAD) && !heads.scoreHead) requireTiedHead(checkpoint, keys);
  const variables = new Map<string, Handle>();
  const read = inParts(checkpoint, dtype);
  try {
    for (const [name, shape] of shapes) {
      const key = keys.get(name)!;
      variables.set(name, variable(read(key, name, shape)));
    }
  } catch (error) {
    release(variables);
    throw error;
  }
  return variables;
}

/** @throws FileError if the config has more layers than the checkpoint has tensors. */
function requireLayers({ path, tensors }: Checkpoint, { nLayer }: GPT2Config): void {
  if (nLayer > tensors.size)
    throw new FileError(
      path,
      `has ${plural(tensors.size, 'tensor')}, too few for the ${plural(nLayer, 'layer')} of its config.json ` +
        `("n_layer")`,
    );
}

/** GPT-2's name of each tensor -> its name in the checkpoint. @throws FileError for unknown or duplicate tensors. */
function keysByName({ path, tensors }: Checkpoint, shapes: Shapes, heads: Heads): Map<string, string> {
  const keys = new Map<string, string>();
  const unknown: string[] = [];
  const ignored: string[] = [];
  for (const key of tensors.keys()) {
    const name = weightName(key);
    if (VALUE_HEAD.test(name)) {
      ignored.push(key);
      continue;
    }
    if (name === SCORE_HEAD && !heads.scoreHead)
      throw new FileError(
        path,
        `has a "${SCORE_HEAD}", so it is a reward model, which writes no text; ` +
          'open it with RewardModel.fromPretrained, or score with "alignbook score"',
      );
    if (!shapes.has(name) && !IGNORED.test(name)) unknown.push(key);
    if (keys.has(name))
      throw new FileError(path, `has the tensor "${name}" twice, as ${quoted(keys.get(name)!)} and as ${quoted(key)}`);
    keys.set(name, key);
  }
  if (unknown[0] !== undefined)
    throw new FileError(
      path,
      `has a tensor ${quoted(unknown[0])} that is not GPT-2's` +
        `${unknown.length === 1 ? '' : `, and ${unknown.length - 1} more`}; ` +
        "save only the model, with transformers' save_pretrained",
    );
  if (ignored.length > 0 && !reported.has(path)) {
    reported.add(path);
    console.error(`${path}: ${ignored.join(', ')}: a value head, which is ignored`);
  }
  return keys;
}

/** @throws FileError if a weight is missing or not of its shape. */
function requireShapes({ path, tensors }: Checkpoint, keys: ReadonlyMap<string, string>, shapes: Shapes): void {
  for (const [name, shape] of shapes) {
    const entry = tensors.get(keys.get(name) ?? '');
    if (entry === undefined && name === LM_HEAD)
      throw new FileError(
        path,
        `lacks the tensor "${LM_HEAD}", although its config.json does not tie the head to the embedding; ` +
          'save the model again with its head, or remove "tie_word_embeddings": false if the head was tied',
      );
    if (entry === undefined) throw new FileError(path, `lacks the tensor "${name}" of the model in its config.json`);
    if (name === SCORE_HEAD && entry.shape[0] !== 1)
      throw new FileError(
        path,
        `its "${SCORE_HEAD}" has ${entry.shape[0]} labels; a reward model has one (num_labels=1)`,
      );
    if (entry.shape.join() !== shape.join())
      throw new FileError(
        path,
        `tensor "${name}" is [${entry.shape.join(', ')}]; its config.json asks for [${shape.join(', ')}]`,
      );
  }
}

/** @throws FileError if there is a head that differs from the embedding, although config.json ties them. */
function requireTiedHead(checkpoint: Checkpoint, keys: ReadonlyMap<string, string>): void {
  const head = keys.get(LM_HEAD);
  if (head === undefined || same(checkpoint.float32(head), checkpoint.float32(keys.get('wte.weight')!))) return;
  throw new FileError(
    checkpoint.path,
    'its lm_head.weight differs from its wte.weight, but its config.json ties them; ' +
      'if the head is a matrix of its own, set "tie_word_embeddings" to false there',
  );
}

/**
 * One NaN among the weights makes every result NaN, silently: its softmax is NaN, and the largest of NaNs is the first
 * token. Checking that the sum of squares is finite takes a few percent of the time of reading.
 *
 * @throws FileError naming the tensor and the first element that is not finite.
 */
function requireFinite(tensor: Handle, path: string, name: string, read: () => Float32Array): void {
  using half = l2(tensor);
  if (Number.isFinite(half.values()[0])) return;
  const values = read();
  const wrong = values.findIndex((value) => !Number.isFinite(value));
  if (wrong < 0) return; // finite, but with squares that are not
  throw new FileError(
    path,
    `tensor ${quoted(name)} holds ${values[wrong]} at element ${wrong}: the file is damaged, ` +
      'or its training diverged; take another copy, or an earlier checkpoint',
  );
}

/** Values read at a time: 4 MB. */
const PART = 2 ** 20;

/**
 * Reads tensors into TensorFlow's own memory through one small array. An array as large as the tensor would stay until
 * the next garbage collection, and a new small array for each part leaves holes: about 50 MB for a model of 500 MB.
 *
 * @param dtype of the matrices of the blocks; none is held in both formats at once.
 * @throws FileError if a number is not finite.
 */
function inParts(
  checkpoint: Checkpoint,
  dtype: HeldDType,
): (key: string, name: string, shape: readonly number[]) => Handle {
  const part = new Float32Array(PART);
  return (key, name, shape) => {
    const [rows, ...row] = shape as [number, ...number[]];
    const length = tf.util.sizeFromShape(row);
    const atOnce = Math.floor(PART / length);
    const half = dtype === 'BF16' && name.startsWith('h.') && row.length > 0;
    const checked = (values: Float32Array, of: readonly number[]): Handle => {
      const read = floats(values, of);
      requireFinite(read, checkpoint.path, key, () => checkpoint.float32(key));
      return half ? inBfloat16(read) : read;
    };
    if (rows <= atOnce || length > PART) return scope(() => checked(checkpoint.float32(key), shape));
    return scope(() => {
      let whole = empty(shape, half);
      for (let from = 0; from < rows; from += atOnce) {
        const count = Math.min(atOnce, rows - from);
        const values = checkpoint.readFloat32(key, from * length, part.subarray(0, count * length));
        const places = ints(
          Int32Array.from({ length: count }, (_, n) => from + n),
          [count],
        );
        whole = scope(() => putRows(whole, places, checked(values, [count, ...row]))); // read before `part` changes
      }
      return whole;
    });
  };
}

const same = (x: Float32Array, y: Float32Array): boolean => Buffer.from(x.buffer).equals(Buffer.from(y.buffer));
