/** A model folder's tokenizer: tokenizer.json and tokenizer_config.json, or the files that came before them. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { FileError } from '../errors';
import { readJsonObject, type JsonObject as Json } from '../jsonFile';

export interface TokenizerFiles {
  /** As tokenizers' tokenizer.json, its merges as `"a b"`. */
  readonly json: Json;
  /** As tokenizer_config.json; empty if there is none. */
  readonly config: Json;
  readonly eosToken: string;
  readonly padToken: string | null;
  /** The file that messages about the vocabulary name. */
  readonly path: string;
}

const END_OF_TEXT = '<|endoftext|>';

/**
 * The oldest repositories have vocab.json and merges.txt only, and name special tokens in special_tokens_map.json or,
 * like OpenAI's gpt2, nowhere: then the text ends with GPT-2's own `<|endoftext|>`, as in transformers.
 *
 * @throws FileError if a file is missing or malformed, or no token ends a text.
 */
export function readTokenizerFiles(folder: string): TokenizerFiles {
  const path = join(folder, 'tokenizer.json');
  const json = existsSync(path) ? withJoinedMerges(readJsonObject(path)) : fromVocabulary(folder);
  const config = readOptional(join(folder, 'tokenizer_config.json'));
  const special = { ...readOptional(join(folder, 'special_tokens_map.json')), ...config };
  const eosToken = content(special['eos_token']) ?? added(json).find((token) => token === END_OF_TEXT);
  if (eosToken === undefined) throw new FileError(join(folder, 'tokenizer_config.json'), `names no "eos_token", and tokenizer.json adds no "${END_OF_TEXT}"`);
  return { json, config, eosToken, padToken: content(special['pad_token']) ?? null, path };
}

/** A special token: its text, or an object that holds it. */
function content(value: unknown): string | undefined {
  const token = typeof value === 'object' && value !== null ? (value as { content?: unknown }).content : value;
  return typeof token === 'string' ? token : undefined;
}

function added(json: Json): unknown[] {
  return Array.isArray(json['added_tokens']) ? json['added_tokens'].map((token: { content?: unknown } | null) => token?.content) : [];
}

/** What transformers makes of vocab.json, merges.txt and added_tokens.json, as tokenizers would write it. */
function fromVocabulary(folder: string): Json {
  const [vocabPath, mergesPath] = [join(folder, 'vocab.json'), join(folder, 'merges.txt')];
  if (!existsSync(vocabPath) || !existsSync(mergesPath)) {
    throw new FileError(join(folder, 'tokenizer.json'), 'is missing, and so are vocab.json and merges.txt, from which it could be made; add them, or name a model that has them');
  }
  const vocab = readJsonObject(vocabPath) as Record<string, number>;
  const merges = readText(mergesPath).split(/\r?\n/).filter((line) => line !== '' && !line.startsWith('#version'));
  const tokens = { ...(END_OF_TEXT in vocab && { [END_OF_TEXT]: vocab[END_OF_TEXT] }), ...readOptional(join(folder, 'added_tokens.json')) };
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: '1.0',
    added_tokens: Object.entries(tokens).map(([token, id]) => ({ id, content: token, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true })),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: { ...byteLevel, trim_offsets: false },
    decoder: byteLevel,
    model: { type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: '', end_of_word_suffix: '', fuse_unk: false, vocab, merges },
  };
}

/**
 * Files written by tokenizers 0.20 and later keep a merge as a pair, ["Ġ", "t"]; @xenova/transformers reads the older
 * "Ġ t" only. A byte-level token holds no space, so nothing is lost in joining.
 */
function withJoinedMerges(json: Json): Json {
  const model = json['model'] as { merges?: (string | string[])[] } | undefined;
  if (!model?.merges) return json;
  return { ...json, model: { ...model, merges: model.merges.map((merge) => (typeof merge === 'string' ? merge : merge.join(' '))) } };
}

function readOptional(path: string): Json {
  return existsSync(path) ? readJsonObject(path) : {};
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new FileError(path, `cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
}
