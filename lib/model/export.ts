/** A model -> a Hugging Face folder that transformers opens unchanged. */
import { copyFileSync, existsSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';

import { FileError, InputError } from '../errors';
import { modelFolder } from '../hub/modelFolder';
import { readJsonObject, type JsonObject } from '../jsonFile';
import { readConfig } from './config';
import { modelCard, origin } from './modelCard';
import { replaceFolder } from './replaceFolder';
import { writeSafetensors, type FloatDType } from './safetensorsWriter';
import { SCORE_HEAD, weightShapes, type Trainable } from './weights';

export interface ExportOptions {
  /** The model that `model` was loaded from or began as, by name or folder: its tokenizer and config go along. */
  source: string;
  /** Default F32. F16 and BF16 round to the nearest, ties to even; they halve the file. */
  dtype?: FloatDType;
  /** Replace a model folder that is there. Default false. */
  force?: boolean;
}

const TORCH_DTYPES: Readonly<Record<FloatDType, string>> = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' };

/**
 * Writes config.json, generation_config.json (of a language model), model.safetensors, the tokenizer's four files and a model card. The folder
 * appears whole or not at all.
 *
 * @throws InputError if `folder` is there and not empty, or the source is not there or of another architecture; FileError if the source lacks a tokenizer.
 */
export async function exportModel(model: Trainable, folder: string, { source, dtype = 'F32', force = false }: ExportOptions): Promise<void> {
  const from = await modelFolder(source);
  const config = readJsonObject(join(from, 'config.json'));
  if (!isDeepStrictEqual(readConfig(join(from, 'config.json')), model.config)) {
    throw new InputError(`the model is not of the architecture of its source, ${from}`);
  }
  const tokenizer = readJsonObject(join(from, 'tokenizer.json'));
  const scoreHead = model.weights.names.includes(SCORE_HEAD);
  replaceFolder(folder, { force }, (out) => {
    const json = (name: string, value: unknown) => writeFileSync(join(out, name), `${JSON.stringify(value, null, 2)}\n`);
    json('config.json', exportedConfig(config, dtype, scoreHead));
    if (!scoreHead && !copied('generation_config.json', from, out)) json('generation_config.json', generationConfig(config));
    copyFileSync(join(from, 'tokenizer.json'), join(out, 'tokenizer.json'));
    copyFileSync(join(from, 'tokenizer_config.json'), join(out, 'tokenizer_config.json'));
    copied('special_tokens_map.json', from, out);
    const { vocab, merges } = vocabulary(tokenizer, join(from, 'tokenizer.json'));
    if (!copied('vocab.json', from, out)) writeFileSync(join(out, 'vocab.json'), JSON.stringify(vocab));
    if (!copied('merges.txt', from, out)) writeFileSync(join(out, 'merges.txt'), merges);
    writeFileSync(join(out, 'README.md'), modelCard(basename(resolve(folder)), origin(source, from), model.config, TORCH_DTYPES[dtype], scoreHead));
    writeWeights(join(out, 'model.safetensors'), model, dtype, scoreHead);
  });
}

/** As save_pretrained writes them, to the byte: the base model under `transformer.`, by name; the tied head is left out. */
function writeWeights(path: string, model: Trainable, dtype: FloatDType, scoreHead: boolean): void {
  const tensors = [...weightShapes(model.config, { scoreHead })].map(([name, shape]) => ({
    name: name === SCORE_HEAD ? name : `transformer.${name}`,
    shape,
    get values() {
      return model.weights.values(name); // copied out when its turn comes
    },
  }));
  tensors.sort((a, b) => (a.name < b.name ? -1 : 1));
  writeSafetensors(path, tensors, { dtype });
}

/** The source's config, what head there is, and how the weights are stored. */
function exportedConfig(source: JsonObject, dtype: FloatDType, scoreHead: boolean): JsonObject {
  const head = scoreHead ? { architectures: ['GPT2ForSequenceClassification'], id2label: { 0: 'score' }, label2id: { score: 0 } } : { architectures: ['GPT2LMHeadModel'] };
  const config: JsonObject = { ...source, model_type: 'gpt2', ...head, torch_dtype: TORCH_DTYPES[dtype] };
  delete config.dtype; // its newer name; every version of transformers reads `torch_dtype`
  delete config._name_or_path;
  delete config.transformers_version; // of whoever wrote the source
  return config;
}

const generationConfig = ({ bos_token_id, eos_token_id }: JsonObject): JsonObject => ({ _from_model_config: true, bos_token_id, eos_token_id });

function copied(name: string, from: string, to: string): boolean {
  if (!existsSync(join(from, name))) return false;
  copyFileSync(join(from, name), join(to, name));
  return true;
}

/** The contents of vocab.json and merges.txt, which tokenizer.json repeats. */
function vocabulary(tokenizer: JsonObject, path: string): { vocab: unknown; merges: string } {
  const model = tokenizer.model as { vocab?: unknown; merges?: readonly (string | readonly string[])[] } | undefined;
  if (!model?.vocab || !model.merges) throw new FileError(path, 'has no BPE vocabulary and merges');
  const lines = model.merges.map((merge) => (typeof merge === 'string' ? merge : merge.join(' ')));
  return { vocab: model.vocab, merges: ['#version: 0.2', ...lines, ''].join('\n') };
}
