/** A model -> a Hugging Face folder that transformers opens without changes. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';

import { InputError } from '../errors';
import { configText, readConfig } from '../formats/config';
import { readJsonObject, type JsonObject } from '../formats/jsonFile';
import { modelCard, origin, type Origin } from '../formats/modelCard';
import type { BaseModel } from '../formats/peftAdapter';
import { replaceFolder } from '../formats/replace';
import { writeSafetensors, type FloatDType } from '../formats/safetensorsWriter';
import { baseOfAdapter } from '../hub/adapter';
import { parseModelName } from '../hub/modelName';
import { templateFiles } from '../text/chatTemplate';
import { readEndTokens, readTokenizerFiles } from '../text/tokenizerFiles';
import { gpt2Files } from './folder';
import type { Trainable } from './weights';
import { LM_HEAD, SCORE_HEAD, weightShapes } from './weightShapes';

export interface ExportOptions {
  /** The model that `model` was loaded from or began as, by name or folder: its tokenizer and config are copied. */
  source: string;
  /** Store weights in this type. F16 and BF16 halve the file and round to the nearest, ties to even. Default F32. */
  dtype?: FloatDType;
  /** Replace an existing model folder. Default false. */
  force?: boolean;
}

const TORCH_DTYPES: Readonly<Record<FloatDType, string>> = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' };

/** The tokenizer's files. A folder may have only some: tokenizer.json is enough, as are vocab.json and merges.txt. */
const TOKENIZER_FILES = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
] as const;

/** Everything that an export writes besides the weights. Once read, the source is no longer needed. */
export interface Companions {
  /** The source's config.json. */
  readonly config: JsonObject;
  /** Other files by name: the tokenizer's, and generation_config.json if the source has one. */
  readonly files: ReadonlyMap<string, Uint8Array | string>;
  readonly origin: Origin;
  /** The model that an adapter of this one belongs to: its hub name and commit, `tiny`, or a folder. */
  readonly base: BaseModel;
  /** The folder of the adapter that the source is; null for a plain model. */
  readonly adapter: string | null;
}

/**
 * Reads a model's companion files. Training calls it at the beginning, so that its end cannot fail for a missing file.
 *
 * @param source the model that `model` was loaded from or began as, by name or folder.
 * @throws InputError if the source does not exist or has another architecture; FileError if its tokenizer cannot be
 *   read.
 */
export async function exportCompanions(model: Trainable, source: string): Promise<Companions> {
  const { folder: from, tokenizer, adapter } = await gpt2Files(source);
  const config = readJsonObject(join(from, 'config.json'));
  if (!isDeepStrictEqual(readConfig(join(from, 'config.json')), model.config)) {
    throw new InputError(
      `the model's architecture differs from that of its source, ${from}; give the model that it began as`,
    );
  }
  const { model: bpe, addedTokens, eosToken } = readTokenizerFiles(tokenizer); // refuses a folder without a tokenizer
  const files = new Map<string, Uint8Array | string>();
  const copy = (name: string, folder: string) => {
    if (existsSync(join(folder, name))) files.set(name, readFileSync(join(folder, name)));
  };
  for (const name of [...TOKENIZER_FILES, ...templateFiles(tokenizer)]) copy(name, tokenizer);
  copy('generation_config.json', from);
  if (!files.has('vocab.json')) files.set('vocab.json', JSON.stringify(bpe.vocab));
  if (!files.has('merges.txt')) files.set('merges.txt', ['#version: 0.2', ...bpe.merges, ''].join('\n'));
  // Responses were trained to end with the tokenizer's end-of-sequence token: generation from the export must stop at
  // it too.
  const eosTokenId = addedTokens.find(({ content }) => content === eosToken)?.id ?? bpe.vocab[eosToken]!;
  const ends = [config.eos_token_id ?? GPT2_END].flat() as number[];
  const agrees = eosTokenId >= model.config.vocabSize || ends.includes(eosTokenId);
  const generation = files.get('generation_config.json');
  if (generation !== undefined && eosTokenId < model.config.vocabSize)
    files.set('generation_config.json', withEnd(generation, eosTokenId, readEndTokens(from)));
  return {
    config: agrees
      ? config
      : { ...config, eos_token_id: Array.isArray(config.eos_token_id) ? [eosTokenId, ...ends] : eosTokenId },
    files,
    origin: origin(from, hubName(adapter === null ? source : baseOfAdapter(adapter))),
    base: pinned(adapter === null ? source : baseOfAdapter(adapter), from),
    adapter,
  };
}

function hubName(model: string): string | null {
  const name = parseModelName(model);
  return name.kind === 'hub' ? name.repository : null;
}

/** @param folder of a model on the hub, its snapshot. */
function pinned(model: string, folder: string): BaseModel {
  const name = parseModelName(model);
  if (name.kind === 'folder') return { name: name.folder, revision: null };
  if (name.kind === 'embedded') return { name: model, revision: null };
  return { name: name.repository, revision: basename(folder) };
}

/** transformers' default where config.json has no `eos_token_id`. */
const GPT2_END = 50256;

/**
 * generation_config.json with the end token in its `eos_token_id`: put first in a list, in place of a single other id,
 * unchanged if already there.
 */
function withEnd(content: Uint8Array | string, eosTokenId: number, ends: readonly number[]): Uint8Array | string {
  const json = JSON.parse(String(content)) as JsonObject;
  if (ends.includes(eosTokenId)) return content;
  const all = Array.isArray(json.eos_token_id) ? [eosTokenId, ...ends] : eosTokenId;
  return `${JSON.stringify({ ...json, eos_token_id: all }, null, 2)}\n`;
}

/**
 * Writes config.json, generation_config.json (for a language model), model.safetensors, the tokenizer's files and a
 * model card. The folder appears complete or not at all.
 *
 * @throws InputError if `folder` exists and is not empty, or the source does not exist or has another architecture;
 *   FileError if the source lacks a tokenizer.
 */
export async function exportModel(
  model: Trainable,
  folder: string,
  { source, ...options }: ExportOptions,
): Promise<void> {
  writeExport(model, folder, await exportCompanions(model, source), options);
}

/** The same, with companions already read. @throws InputError if `folder` exists and is not empty. */
export function writeExport(
  model: Trainable,
  folder: string,
  { config, files, origin: from }: Companions,
  { dtype = 'F32', force = false }: Omit<ExportOptions, 'source'> = {},
): void {
  const scoreHead = model.weights.names.includes(SCORE_HEAD);
  replaceFolder(folder, { force }, (out) => {
    const json = (name: string, value: unknown) =>
      writeFileSync(join(out, name), `${JSON.stringify(value, null, 2)}\n`);
    writeFileSync(
      join(out, 'config.json'),
      configText(exportedConfig(config, dtype, scoreHead, model.padTokenId ?? null)),
    );
    if (!scoreHead && !files.has('generation_config.json')) json('generation_config.json', generationConfig(config));
    const all = scoreHead ? rewardModelFiles(files, model.padTokenId ?? null) : files;
    writeFiles(out, all);
    writeFileSync(
      join(out, 'README.md'),
      modelCard(
        basename(resolve(folder)),
        from,
        model.config,
        TORCH_DTYPES[dtype],
        scoreHead ? { padTokenId: model.padTokenId ?? null } : undefined,
      ),
    );
    writeWeights(join(out, 'model.safetensors'), model, dtype, scoreHead);
  });
}

export function writeFiles(folder: string, files: Companions['files']): void {
  for (const [name, content] of files) {
    mkdirSync(dirname(join(folder, name)), { recursive: true }); // additional_chat_templates
    writeFileSync(join(folder, name), content);
  }
}

/** The files of a folder that is not a language model by itself. */
export const withoutGeneration = (files: Companions['files']): Map<string, Uint8Array | string> =>
  new Map([...files].filter(([name]) => name !== 'generation_config.json'));

/**
 * To the byte as save_pretrained writes them: sorted by name, the base model under `transformer.`, without a tied head.
 */
function writeWeights(path: string, model: Trainable, dtype: FloatDType, scoreHead: boolean): void {
  const tensors = [...weightShapes(model.config, { scoreHead })].map(([name, shape]) => ({
    name: name === SCORE_HEAD || name === LM_HEAD ? name : `transformer.${name}`,
    shape,
    get values() {
      return model.weights.values(name); // copied when it is written
    },
  }));
  tensors.sort((a, b) => (a.name < b.name ? -1 : 1));
  writeSafetensors(path, tensors, { dtype });
}

/**
 * The source's config with the fields of the head and of the weights' type. A reward model's `pad_token_id` decides
 * where its scores are read.
 */
function exportedConfig(
  source: JsonObject,
  dtype: FloatDType,
  scoreHead: boolean,
  padTokenId: number | null,
): JsonObject {
  const head = scoreHead
    ? { architectures: ['GPT2ForSequenceClassification'], id2label: { 0: 'score' }, label2id: { score: 0 } }
    : { architectures: ['GPT2LMHeadModel'] };
  const config: JsonObject = {
    ...source,
    model_type: 'gpt2',
    ...head,
    torch_dtype: TORCH_DTYPES[dtype],
    ...(scoreHead && padTokenId !== null && { pad_token_id: padTokenId }),
  };
  if (scoreHead && padTokenId === null) delete config.pad_token_id;
  delete config.dtype; // its newer name; every version of transformers reads `torch_dtype`
  delete config._name_or_path;
  delete config.transformers_version; // that of the source's writer
  return config;
}

const generationConfig = ({ bos_token_id, eos_token_id }: JsonObject): JsonObject => ({
  _from_model_config: true,
  bos_token_id,
  eos_token_id,
});

/**
 * The files of a reward model: none for generation, and a tokenizer that pads with the token that scores skip, as TRL
 * saves it.
 */
function rewardModelFiles(files: Companions['files'], padTokenId: number | null): Companions['files'] {
  const changed = withoutGeneration(files);
  if (padTokenId === null) return changed;
  const vocab = JSON.parse(String(files.get('vocab.json'))) as Record<string, number>;
  const token = Object.keys(vocab).find((text) => vocab[text] === padTokenId);
  if (token === undefined) return changed; // an added token, which the tokenizer's files already name
  const padded = (content: Uint8Array | string = '{}') =>
    `${JSON.stringify({ ...(JSON.parse(String(content)) as JsonObject), pad_token: token }, null, 2)}\n`;
  for (const name of ['tokenizer_config.json', 'special_tokens_map.json'])
    if (files.has(name)) changed.set(name, padded(files.get(name)));
  return changed;
}
