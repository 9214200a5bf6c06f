/** A model folder's tokenizer: tokenizer.json and tokenizer_config.json, or the files that came before them. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { FileError, quoted } from '../errors';
import { foreignFile } from '../foreignFile';
import { readJsonObject, type JsonObject as Json } from '../jsonFile';
import type { AddedToken } from './addedTokens';
import { checkPipeline, type BpeModel } from './tokenizerPipeline';

export interface TokenizerFiles {
  readonly model: BpeModel;
  /** Each id and each content once. */
  readonly addedTokens: readonly AddedToken[];
  /** Whether a text, and what follows an added token, begins with a space that it does not have. */
  readonly addPrefixSpace: boolean;
  readonly eosToken: string;
  readonly padToken: string | null;
  /** tokenizer_config.json; empty if there is none. */
  readonly config: Json;
  /** Special tokens by the names that chat templates use. */
  readonly special: Readonly<Record<string, string>>;
  /** The file that messages about the vocabulary name. */
  readonly path: string;
}

const END_OF_TEXT = '<|endoftext|>';

/** The fields of tokenizer_config.json and special_tokens_map.json that name tokens. */
const SPECIAL = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'] as const;

/** Settings of tokenizer_config.json with which Python gives other ids, and the value that changes nothing. */
const PLAIN: Readonly<Record<string, unknown>> = { add_bos_token: false, add_eos_token: false, split_special_tokens: false };

/**
 * Reads a tokenizer as transformers' AutoTokenizer does. The oldest repositories have vocab.json and merges.txt only, and name special tokens
 * in special_tokens_map.json or, like OpenAI's gpt2, nowhere: then the text ends with GPT-2's own `<|endoftext|>`, as in transformers.
 *
 * @throws FileError if a file is missing or malformed, no token ends a text, or Python would give other ids.
 */
export function readTokenizerFiles(folder: string): TokenizerFiles {
  const path = join(folder, 'tokenizer.json');
  const configPath = join(folder, 'tokenizer_config.json');
  const json = existsSync(path) ? readJsonObject(path) : fromVocabulary(folder);
  const config = readOptional(configPath);
  for (const [field, plain] of Object.entries(PLAIN)) {
    if ((config[field] ?? plain) !== plain) throw new FileError(configPath, `its ${field} ${quoted(String(config[field]))} is not reproduced here, so that texts would get other ids than in Python; only ${plain} is`);
  }
  const { model, addPrefixSpace } = checkPipeline(json, path);
  const special = { ...readOptional(join(folder, 'special_tokens_map.json')), ...config };
  const addedTokens = readAddedTokens(json, config, special, model, path, configPath);
  const eosToken = content(special['eos_token']) ?? addedTokens.find((token) => token.content === END_OF_TEXT)?.content;
  if (eosToken === undefined) throw new FileError(configPath, `names no "eos_token", and tokenizer.json adds no "${END_OF_TEXT}"`);
  const isGpt2 = /^GPT2Tokenizer(Fast)?$/.test(String(config.tokenizer_class ?? 'GPT2Tokenizer'));
  const engine = isGpt2 ? { model: { ...model, ignoreMerges: false }, addPrefixSpace: prefixSpace(config, configPath) } : { model, addPrefixSpace };
  return { ...engine, addedTokens, eosToken, padToken: content(special['pad_token']) ?? null, config, special: namesOf(special, eosToken, isGpt2), path };
}

/** transformers' GPT2Tokenizer takes it from here, and passes over tokenizer.json's, as over its `ignore_merges`; any other class takes those. */
function prefixSpace({ add_prefix_space: given = false }: Json, configPath: string): boolean {
  if (typeof given !== 'boolean') throw new FileError(configPath, `its add_prefix_space must be true or false, got ${quoted(String(given))}`);
  return given;
}

/** GPT2Tokenizer has its own where no file names one. */
function namesOf(special: Json, eosToken: string, isGpt2: boolean): Record<string, string> {
  const defaults = isGpt2 ? { bos_token: END_OF_TEXT, unk_token: END_OF_TEXT } : {};
  const named = SPECIAL.flatMap((name) => (content(special[name]) === undefined ? [] : [[name, content(special[name])!]]));
  return { ...defaults, eos_token: eosToken, ...Object.fromEntries(named) } as Record<string, string>;
}

/** A special token: its text, or an object that holds it. */
function content(value: unknown): string | undefined {
  const token = typeof value === 'object' && value !== null ? (value as { content?: unknown }).content : value;
  return typeof token === 'string' ? token : undefined;
}

/** All that some file adds to the vocabulary, or names as special: Python looks for each of them in a text before BPE. */
function readAddedTokens(json: Json, config: Json, special: Json, model: BpeModel, path: string, configPath: string): AddedToken[] {
  const byContent = new Map<string, AddedToken>();
  const add = (token: Json, from: string) => {
    const { id, content: text, normalized = false } = token;
    if (typeof text !== 'string' || text === '' || typeof id !== 'number' || !Number.isInteger(id) || id < 0) throw new FileError(from, `has an added token ${quoted(JSON.stringify(token))} without a text and an id`);
    for (const flag of ['lstrip', 'rstrip', 'single_word']) {
      if (token[flag] === true) throw new FileError(from, `its added token ${quoted(text)} with ${flag} is not reproduced here, so that texts would get other ids than in Python`);
    }
    byContent.set(text, { id, content: text, normalized: normalized === true });
  };
  for (const token of Array.isArray(json['added_tokens']) ? json['added_tokens'] : []) add(token as Json, path);
  const decoder = config['added_tokens_decoder'] ?? {};
  for (const [id, token] of Object.entries(decoder as Record<string, Json>)) add({ ...token, id: Number(id) }, configPath);
  const more = ['additional_special_tokens', 'extra_special_tokens'].flatMap((name) => (Array.isArray(special[name]) ? (special[name] as unknown[]) : []));
  const named = [...SPECIAL.map((name) => content(special[name])), ...more.map(content), END_OF_TEXT in model.vocab ? END_OF_TEXT : undefined];
  for (const text of named) {
    if (text === undefined || byContent.has(text)) continue;
    const id = model.vocab[text];
    if (id === undefined) throw new FileError(path, `its vocabulary lacks the special token ${quoted(text)}, which ${configPath} names; save the tokenizer again with save_pretrained, or take the name out`);
    byContent.set(text, { id, content: text, normalized: false });
  }
  return [...byContent.values()];
}

/** What transformers makes of vocab.json, merges.txt and added_tokens.json, as tokenizers would write it. */
function fromVocabulary(folder: string): Json {
  const [vocabPath, mergesPath] = [join(folder, 'vocab.json'), join(folder, 'merges.txt')];
  if (!existsSync(vocabPath) || !existsSync(mergesPath)) {
    throw new FileError(join(folder, 'tokenizer.json'), 'is missing, and so are vocab.json and merges.txt, from which it could be made; add them, or name a model that has them');
  }
  const vocab = readJsonObject(vocabPath);
  const merges = readText(mergesPath).split(/\r?\n/).filter((line) => line !== '' && !line.startsWith('#version'));
  const byteLevel = { type: 'ByteLevel' };
  return {
    added_tokens: Object.entries(readOptional(join(folder, 'added_tokens.json'))).map(([token, id]) => ({ id, content: token })),
    pre_tokenizer: byteLevel,
    decoder: byteLevel,
    model: { type: 'BPE', vocab, merges },
  };
}

function readOptional(path: string): Json {
  return existsSync(path) ? readJsonObject(path) : {};
}

function readText(path: string): string {
  const foreign = foreignFile(path);
  if (foreign !== undefined) throw new FileError(path, foreign);
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new FileError(path, `cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
}
