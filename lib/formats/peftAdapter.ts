/**
 * LoRA adapters as PEFT stores them (https://github.com/huggingface/peft): a folder with adapter_config.json and
 * adapter_model.safetensors. Every field that changes what the adapter computes is either applied here or refused.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { clipped, FileError, quoted } from '../errors';
import { readJsonObject, type JsonObject } from './jsonFile';
import { SafetensorsFile } from './safetensors';
import { writeSafetensors } from './safetensorsWriter';

export const ADAPTER_CONFIG = 'adapter_config.json';
export const ADAPTER_WEIGHTS = 'adapter_model.safetensors';

/** The difference of one matrix W [in, out]: scale A B. Row-major float32. */
export interface LowRank {
  /** [in, rank]. */
  readonly a: Float32Array;
  /** [rank, out]. */
  readonly b: Float32Array;
  /** [in, out] of the matrix. */
  readonly shape: readonly [number, number];
  readonly rank: number;
  readonly scale: number;
}

export interface PeftAdapter {
  /** The model to which the adapter belongs, as its author named it. */
  readonly baseModel: BaseModel | null;
  /** By GPT-2's own names, such as `h.0.attn.c_attn.weight`. */
  readonly differences: ReadonlyMap<string, LowRank>;
  /** adapter_config.json as read. */
  readonly config: JsonObject;
}

export interface BaseModel {
  /** A name on the hub, or a folder. */
  readonly name: string;
  /** A branch, tag or commit of the name on the hub, or null. */
  readonly revision: string | null;
}

/** PEFT's name of an adapter's tensor, with GPT-2's own name of the matrix, and A or B. */
const TENSOR =
  /^base_model\.model\.(?:transformer\.)?(h\.\d+\.(?:attn\.c_(?:attn|proj)|mlp\.c_(?:fc|proj)))\.lora_([AB])\.weight$/;

/** Fields of adapter_config.json that are read here, or that change nothing in what an adapter computes. */
const KNOWN = new Set([
  'alpha_pattern',
  'auto_mapping',
  'base_model_name_or_path',
  'bias',
  'ensure_weight_tying', // of the modules to save, which are refused
  'eva_config', // how A was drawn
  'exclude_modules', // the tensors say which modules have an adapter
  'fan_in_fan_out', // PEFT sets it by the layer's type, whatever the file says
  'inference_mode',
  'init_lora_weights',
  'layers_pattern',
  'layers_to_transform',
  'lora_alpha',
  'lora_dropout', // active in training alone
  'megatron_core', // names a Python module
  'peft_type',
  'peft_version',
  'qalora_group_size', // of use_qalora
  'r',
  'rank_pattern',
  'revision',
  'target_modules',
  'task_type',
  'use_rslora',
]);

/** Ways to draw A and B that leave the base model's weights as they are. PiSSA, OLoRA and others change them. */
const DRAWN = new Set<unknown>([undefined, null, true, false, 'gaussian', 'eva', 'orthogonal']);

/** Whether a folder holds an adapter's configuration; it may hold a model besides. */
export const holdsAdapter = (folder: string): boolean => existsSync(join(folder, ADAPTER_CONFIG));

/** @throws FileError if adapter_config.json cannot be read, or names its base model by something other than a text. */
export function adapterBase(folder: string): BaseModel | null {
  const path = join(folder, ADAPTER_CONFIG);
  const { base_model_name_or_path: name = null, revision = null } = readJsonObject(path);
  for (const [field, value] of Object.entries({ base_model_name_or_path: name, revision }))
    if (value !== null && typeof value !== 'string') throw new FileError(path, `"${field}" is not a text`);
  return name === null || name === '' ? null : { name: name as string, revision: revision as string | null };
}

/**
 * @throws FileError if a file is malformed, the adapter is not a LoRA, it has a part that cannot be added to a matrix
 *   of GPT-2 (the message names it), or its tensors do not fit its configuration.
 */
export function readPeftAdapter(folder: string): PeftAdapter {
  const path = join(folder, ADAPTER_CONFIG);
  const config = requireWholeAdapter(folder);
  const baseModel = adapterBase(folder);
  using file = new SafetensorsFile(join(folder, ADAPTER_WEIGHTS));
  const differences = new Map<string, LowRank>();
  for (const [matrix, keys] of matrices(file))
    differences.set(`${matrix}.weight`, difference(file, matrix, keys, path, config));
  requireTargets(path, config, differences);
  return { baseModel, differences, config };
}

/** Checks what can be checked before the base model is downloaded. @returns adapter_config.json, as read. */
export function requireWholeAdapter(folder: string): JsonObject {
  const config = requirePeftConfig(folder);
  if (!existsSync(join(folder, ADAPTER_WEIGHTS)))
    throw new FileError(
      folder,
      `is an adapter without ${ADAPTER_WEIGHTS}; save it again with Python's peft, as safetensors`,
    );
  return config;
}

/** adapter_config.json, as read. @throws FileError for a field whose effect is not applied here. */
export function requirePeftConfig(folder: string): JsonObject {
  const path = join(folder, ADAPTER_CONFIG);
  const config = readJsonObject(path);
  const refuse = (field: string) => {
    throw new FileError(
      path,
      `"${field}" is ${clipped(JSON.stringify(config[field] ?? null))}, which is not supported here; ` +
        mergeInPython(config.task_type),
    );
  };
  if (config.peft_type !== 'LORA') refuse('peft_type');
  if (![undefined, null, 'CAUSAL_LM'].includes(config.task_type as string | undefined)) refuse('task_type');
  if (![undefined, null, 'none'].includes(config.bias as string | undefined)) refuse('bias');
  if (!DRAWN.has(config.init_lora_weights)) refuse('init_lora_weights');
  // modules_to_save, use_dora, lora_bias …, and whatever later versions add: only where it is in use
  for (const [field, value] of Object.entries(config)) if (!KNOWN.has(field) && !isUnused(value)) refuse(field);
  for (const field of ['r', 'lora_alpha'])
    if (!(typeof config[field] === 'number' && Number.isFinite(config[field])))
      throw new FileError(path, `"${field}" is not a number; save the adapter again with Python's peft`);
  return config;
}

/** What to do with an adapter that is not read here. */
function mergeInPython(task: unknown): string {
  const [auto, more] = task === 'SEQ_CLS' ? ['SequenceClassification', ', num_labels=1'] : ['CausalLM', ''];
  const merging =
    `merge the adapter with Python, peft.AutoPeftModelFor${auto}.from_pretrained(folder${more}).merge_and_unload()` +
    '.save_pretrained("merged"), and give ./merged with the tokenizer\'s files';
  // findings/peft-reward-adapter-loses-pad-token.sh: PEFT keeps no record of where the score was read
  return task === 'SEQ_CLS'
    ? `${merging}; put the "pad_token_id" of the training into merged/config.json, which decides where scores are read`
    : merging;
}

const isUnused = (value: unknown): boolean =>
  value === null || value === false || value === '' || (typeof value === 'object' && Object.keys(value).length === 0);

/** The names of the two tensors of a matrix's adapter. */
type Sides = Partial<Record<'A' | 'B', string>>;

/** The matrices that have an adapter, such as `h.0.attn.c_attn`, in the order of the file. */
function matrices(file: SafetensorsFile): Map<string, Sides> {
  const found = new Map<string, Sides>();
  for (const key of file.tensors.keys()) {
    const [, matrix, side] = TENSOR.exec(key) ?? [];
    if (matrix === undefined)
      throw new FileError(
        file.path,
        `has a tensor ${quoted(key)}, which is not an adapter of GPT-2's attn.c_attn, attn.c_proj, mlp.c_fc or ` +
          `mlp.c_proj; ${mergeInPython(undefined)}`,
      );
    found.set(matrix, { ...found.get(matrix), [side!]: key });
  }
  if (found.size === 0) throw new FileError(file.path, 'has no tensors, so there is nothing to add');
  return found;
}

function difference(
  file: SafetensorsFile,
  matrix: string,
  { A: keyA, B: keyB }: Sides,
  path: string,
  config: JsonObject,
): LowRank {
  if (keyA === undefined || keyB === undefined)
    throw new FileError(file.path, `lacks lora_${keyA === undefined ? 'A' : 'B'} of ${matrix}`);
  const [shapeA, shapeB] = [file.tensors.get(keyA)!.shape, file.tensors.get(keyB)!.shape];
  const [rank, from] = shapeA;
  const [to, rankB] = shapeB;
  if (shapeA.length !== 2 || shapeB.length !== 2 || rank !== rankB || rank === 0)
    throw new FileError(
      file.path,
      `lora_A [${shapeA}] and lora_B [${shapeB}] of ${matrix} do not fit each other as [rank, in] and [out, rank]`,
    );
  const stated = patterned(path, config, 'rank_pattern', matrix) ?? config.r;
  if (stated !== rank)
    throw new FileError(
      file.path,
      `the adapter of ${matrix} has rank ${rank}, but ${ADAPTER_CONFIG} says ${stated as number}: ` +
        'the two files do not belong together',
    );
  const alpha = patterned(path, config, 'alpha_pattern', matrix) ?? (config.lora_alpha as number);
  return {
    a: transposed(finite(file, keyA), rank!, from!),
    b: transposed(finite(file, keyB), to!, rank!),
    shape: [from!, to!],
    rank: rank!,
    scale: config.use_rslora === true ? alpha / Math.sqrt(rank!) : alpha / rank!,
  };
}

/**
 * The value that a pattern gives a module: the first whose key, a Python regular expression, matches the end of the
 * module's name. Only plain names are read: other expressions mean something else in JavaScript.
 */
function patterned(path: string, config: JsonObject, field: string, matrix: string): number | undefined {
  const patterns = (config[field] ?? {}) as Record<string, unknown>;
  if (typeof patterns !== 'object' || Array.isArray(patterns)) throw new FileError(path, `"${field}" is not an object`);
  const module = `transformer.${matrix}`;
  for (const [key, value] of Object.entries(patterns)) {
    const plain = key.replace(/^\^/, '').replace(/\\\./g, '.');
    if (!/^[\w.]+$/.test(plain))
      throw new FileError(
        path,
        `"${field}" has the key ${quoted(key)}, a regular expression, which is not read here; write module names`,
      );
    const matches = key.startsWith('^') ? module === plain : module === plain || module.endsWith(`.${plain}`);
    if (!matches) continue;
    if (!(typeof value === 'number' && Number.isFinite(value)))
      throw new FileError(path, `"${field}" gives ${quoted(key)} something other than a number`);
    return value;
  }
  return undefined;
}

/** @throws FileError if a block that has an adapter of one named module lacks that of another. */
function requireTargets(path: string, config: JsonObject, differences: ReadonlyMap<string, LowRank>): void {
  if (!Array.isArray(config.target_modules)) return; // a regular expression, or all linear layers
  const names = [...differences.keys()].map((name) => name.replace(/\.weight$/, ''));
  const unused = config.target_modules.find(
    (target) => typeof target === 'string' && !names.some((name) => `.transformer.${name}`.endsWith(`.${target}`)),
  ) as string | undefined;
  if (unused !== undefined)
    throw new FileError(path, `"target_modules" names ${quoted(unused)}, but ${ADAPTER_WEIGHTS} has no tensor of it`);
  const blocks = new Map<string, number>();
  for (const name of names) {
    const target = name.replace(/^h\.\d+\./, '');
    blocks.set(target, (blocks.get(target) ?? 0) + 1);
  }
  const most = Math.max(...blocks.values());
  for (const [target, count] of blocks)
    if (count !== most && config.layers_to_transform == null)
      throw new FileError(
        path,
        `${ADAPTER_WEIGHTS} has ${target} in ${count} blocks and other modules in ${most}: a part of it is missing`,
      );
}

function finite(file: SafetensorsFile, key: string): Float32Array {
  const values = file.float32(key);
  const wrong = values.findIndex((value) => !Number.isFinite(value));
  if (wrong >= 0)
    throw new FileError(file.path, `tensor ${quoted(key)} holds ${values[wrong]} at element ${wrong}; save it again`);
  return values;
}

/** [rows, columns] -> [columns, rows]. */
function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  const result = new Float32Array(values.length);
  for (let row = 0; row < rows; row += 1)
    for (let column = 0; column < columns; column += 1) result[column * rows + row] = values[row * columns + column]!;
  return result;
}

/**
 * Writes both files, as PEFT's save_pretrained does.
 *
 * @param config the fields of adapter_config.json; the others get PEFT's defaults when it reads the file.
 */
export function writePeftAdapter(folder: string, differences: ReadonlyMap<string, LowRank>, config: JsonObject): void {
  const tensors = [...differences].flatMap(
    ([
      name,
      {
        a,
        b,
        shape: [from, to],
        rank,
      },
    ]) => {
      const module = `base_model.model.transformer.${name.replace(/\.weight$/, '')}`;
      return [
        { name: `${module}.lora_A.weight`, shape: [rank, from], values: transposed(a, from, rank) },
        { name: `${module}.lora_B.weight`, shape: [to, rank], values: transposed(b, rank, to) },
      ];
    },
  );
  tensors.sort((one, other) => (one.name < other.name ? -1 : 1));
  writeSafetensors(join(folder, ADAPTER_WEIGHTS), tensors);
  writeFileSync(join(folder, ADAPTER_CONFIG), `${JSON.stringify(config, null, 2)}\n`);
}
