/**
 * Reads a model folder's tokenizer: tokenizer.json and tokenizer_config.json, or the older files that they replaced.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { FileError, quoted } from '../errors';
import { readText } from '../formats/fileBytes';
import { readJsonObject, type JsonObject as Json } from '../formats/jsonFile';
import {
  contentOf,
  END_OF_TEXT,
  isToken,
  specialTokens,
  tokenSettings,
  type AddedToken,
  type TokenizerClass,
  type TokenSources,
} from './specialTokens';
import { checkPipeline, type BpeModel } from './tokenizerPipeline';

export interface TokenizerFiles {
  readonly model: BpeModel;
  /** Contains each id and each content once. */
  readonly addedTokens: readonly AddedToken[];
  /** Whether a space is put before a text, and before what follows an added token, if there is none. */
  readonly addPrefixSpace: boolean;
  readonly eosToken: string;
  readonly padToken: string | null;
  /** tokenizer_config.json; an empty object if the file is missing. */
  readonly config: Json;
  /** Special tokens by the names that chat templates use. */
  readonly special: Readonly<Record<string, string>>;
  /** The file named in error messages about the vocabulary. */
  readonly path: string;
}

/** Settings of tokenizer_config.json that would change the ids in Python, each with the value that has no effect. */
const PLAIN: Readonly<Record<string, unknown>> = {
  add_bos_token: false,
  add_eos_token: false,
  split_special_tokens: false,
};

/**
 * Reads a tokenizer as transformers' AutoTokenizer does. The oldest repositories have only vocab.json and merges.txt,
 * and name special tokens in special_tokens_map.json or, like OpenAI's gpt2, nowhere. In the latter case GPT-2's own
 * `<|endoftext|>` ends a text, as in transformers.
 *
 * @throws FileError if a file is missing or malformed, if no token ends a text, or if Python would give different ids.
 */
export function readTokenizerFiles(folder: string): TokenizerFiles {
  try {
    return read(folder);
  } catch (cause) {
    // A field has a value of an unexpected type.
    if (!(cause instanceof TypeError || cause instanceof RangeError)) throw cause;
    throw new FileError(
      join(folder, 'tokenizer.json'),
      `this file or one beside it is malformed (${cause.message}); save the tokenizer again`,
      { cause },
    );
  }
}

function read(folder: string): TokenizerFiles {
  const path = join(folder, 'tokenizer.json');
  const configPath = join(folder, 'tokenizer_config.json');
  const json = existsSync(path) ? readJsonObject(path) : fromVocabulary(folder);
  const config = readOptional(configPath);
  for (const [field, plain] of Object.entries(PLAIN)) {
    if ((config[field] ?? plain) !== plain)
      throw new FileError(
        configPath,
        `its ${field} ${quoted(String(config[field]))} is not reproduced here, so texts would get other ids ` +
          `than in Python; only ${plain} is`,
      );
  }
  const { model, addPrefixSpace } = checkPipeline(json, path);
  const tokenizerClass = classOf(config, readOptional(join(folder, 'config.json')), configPath, existsSync(path));
  const sources: TokenSources = {
    json: existsSync(path) ? listOf(json['added_tokens'], path) : undefined,
    config,
    map: readOptional(join(folder, 'special_tokens_map.json')),
    added: existsSync(path) ? {} : readOptional(join(folder, 'added_tokens.json')),
    path,
    configPath,
  };
  const named = tokenSettings(sources)['eos_token'];
  const eosToken = isToken(named) ? contentOf(named) : END_OF_TEXT;
  const { addedTokens, named: special } = specialTokens(sources, model.vocab, tokenizerClass);
  // If no file names or adds the token, it is transformers' default, which is added to any vocabulary; the model was
  // never trained to end a text with it.
  const isThere = Object.hasOwn(model.vocab, eosToken) || mentions(sources, eosToken);
  if (!isToken(named) && !isThere)
    throw new FileError(configPath, `names no "eos_token", and tokenizer.json adds no "${END_OF_TEXT}"`);
  const isGpt2 = tokenizerClass === 'GPT2Tokenizer';
  const engine = isGpt2
    ? { model: { ...model, ignoreMerges: false }, addPrefixSpace: prefixSpace(config, configPath) }
    : { model, addPrefixSpace };
  return {
    ...engine,
    addedTokens,
    eosToken,
    padToken: special['pad_token'] ?? null,
    config,
    special: { ...special, eos_token: eosToken },
    path,
  };
}

/** Chooses the class as AutoTokenizer does for a GPT-2. Other classes have their own pipelines and special tokens. */
function classOf(config: Json, model: Json, configPath: string, hasJson: boolean): TokenizerClass {
  const name = config['tokenizer_class'] ?? model['tokenizer_class'] ?? 'GPT2Tokenizer';
  if (name === 'GPT2Tokenizer' || name === 'GPT2TokenizerFast') return 'GPT2Tokenizer';
  if (name !== 'PreTrainedTokenizerFast' && name !== 'TokenizersBackend') {
    throw new FileError(
      configPath,
      `its tokenizer_class ${quoted(String(name))} is not reproduced here, so texts would get other ids ` +
        'than in Python; only GPT2Tokenizer and PreTrainedTokenizerFast are',
    );
  }
  if (!hasJson)
    throw new FileError(
      configPath,
      `its tokenizer_class ${quoted(name)} needs a tokenizer.json, which is missing; add it, or name GPT2Tokenizer`,
    );
  return 'TokenizersBackend';
}

function listOf(added: unknown = [], path: string): unknown[] {
  if (!Array.isArray(added))
    throw new FileError(
      path,
      `its added_tokens ${quoted(JSON.stringify(added))} is not a list; save the tokenizer again`,
    );
  return added;
}

/** Whether any file declares the token with an id. */
function mentions({ json = [], config, added }: TokenSources, text: string): boolean {
  const listed = Object.values((config['added_tokens_decoder'] ?? {}) as Json);
  return (
    Object.hasOwn(added, text) || [...json, ...listed].some((token) => isToken(token) && contentOf(token) === text)
  );
}

/**
 * transformers' GPT2Tokenizer reads this setting from tokenizer_config.json and ignores the one in tokenizer.json, and
 * also its `ignore_merges`; any other class uses those in tokenizer.json.
 */
function prefixSpace({ add_prefix_space: given = false }: Json, configPath: string): boolean {
  if (typeof given !== 'boolean')
    throw new FileError(configPath, `its add_prefix_space must be true or false, got ${quoted(String(given))}`);
  return given;
}

/** What transformers builds from vocab.json and merges.txt, in the form of a tokenizer.json. */
function fromVocabulary(folder: string): Json {
  const [vocabPath, mergesPath] = [join(folder, 'vocab.json'), join(folder, 'merges.txt')];
  if (!existsSync(vocabPath) || !existsSync(mergesPath)) {
    throw new FileError(
      join(folder, 'tokenizer.json'),
      'is missing, and so are vocab.json and merges.txt, from which it could be built; add them, or name a model ' +
        'that has them',
    );
  }
  const vocab = readJsonObject(vocabPath);
  const merges = readText(mergesPath)
    .split(/\r?\n/)
    .filter((line) => line !== '' && !line.startsWith('#version'));
  const byteLevel = { type: 'ByteLevel' };
  return {
    pre_tokenizer: byteLevel,
    decoder: byteLevel,
    model: { type: 'BPE', vocab, merges },
  };
}

function readOptional(path: string): Json {
  return existsSync(path) ? readJsonObject(path) : {};
}

/**
 * The tokens that end a text in generation.
 *
 * @returns the ids in generation_config.json or, if it is missing or names none, in config.json.
 * @throws FileError if `eos_token_id` is not a token id, a list of token ids, or null.
 */
export function readEndTokens(folder: string): number[] {
  const [first, ...rest] = ['generation_config.json', 'config.json']
    .map((name) => join(folder, name))
    .filter((path) => existsSync(path))
    .map(endTokens);
  return first === undefined || first.length > 0 ? (first ?? []) : (rest[0] ?? []);
}

function endTokens(path: string): number[] {
  const { eos_token_id: given = null } = readJsonObject(path);
  const ids: unknown[] = given === null ? [] : Array.isArray(given) ? given : [given];
  if (ids.every((id): id is number => typeof id === 'number' && Number.isInteger(id) && id >= 0)) return ids;
  throw new FileError(
    path,
    `"eos_token_id" must be a token id, a list of them, or null, got ${quoted(JSON.stringify(given))}`,
  );
}
