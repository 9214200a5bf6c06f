/** Converts text to token ids and back: GPT-2's byte-level BPE, from a model folder's files. */
import { FileError, InputError } from '../errors';
import { modelFiles } from '../hub/modelFolder';
import type { DownloadOptions } from '../hub/repository';
import { characterClass, letters, numbers, spaces } from './characterClasses';
import { ChatTemplate } from './chatTemplate';
import { splitter, type Piece } from './specialTokens';
import { readEndTokens, readTokenizerFiles, type TokenizerFiles } from './tokenizerFiles';

/** The members of @xenova/transformers' tokenizer that are used here. */
interface PreTrainedTokenizer {
  encode(text: string): number[];
  decode(ids: number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string;
  readonly model: { readonly tokens_to_ids: ReadonlyMap<string, number>; readonly vocab: readonly string[] };
  readonly pre_tokenizer: { pattern: RegExp };
}

interface TokenizersModule {
  readonly GPT2Tokenizer: new (json: object, config: object) => PreTrainedTokenizer;
}

/**
 * GPT-2's own pattern (https://github.com/openai/gpt-2/blob/master/src/encoder.py), with Python's character classes.
 */
const WORDS = ((L, N, s) =>
  new RegExp(`'s|'t|'re|'ve|'m|'ll|'d| ?[${L}]+| ?[${N}]+| ?[^${s}${L}${N}]+|[${s}]+(?![^${s}])|[${s}]+`, 'gu'))(
  characterClass(letters),
  characterClass(numbers),
  characterClass(spaces),
);
const SPACE = new RegExp(`[${characterClass(spaces)}]`, 'u');
/**
 * Maximum number of characters in a text, about 200 GPT-2 windows. On ten million characters, the search for words
 * overflows the stack.
 */
const LONGEST = 1_000_000;

/** Words whose ids are kept, and the characters that such a word may have: at most some 20 MB. */
const MOST_KEPT = 2 ** 16;
const LONGEST_KEPT = 64;

const LONE_SURROGATE = /\p{Surrogate}/u;
/** Matches a text that already begins with a space, to which `add_prefix_space` adds none. */
const SPACED = /^ /;

export class Tokenizer {
  readonly #tokenizer: PreTrainedTokenizer;
  readonly #split: (text: string) => Piece[];
  readonly #addPrefixSpace: boolean;
  readonly #ids = new Map<string, readonly number[]>();
  /**
   * Whether a text cut where white space follows another character has the same ids as its parts. It does not if an
   * added token may span the cut, or if `add_prefix_space` puts a space before each part.
   */
  readonly splitsAtGaps: boolean;

  private constructor(
    tokenizer: PreTrainedTokenizer,
    { addedTokens, addPrefixSpace }: Pick<TokenizerFiles, 'addedTokens' | 'addPrefixSpace'>,
    /** The token that ends a text: `<|endoftext|>` for GPT-2. */
    readonly eosToken: string,
    readonly eosTokenId: number,
    /** Null for GPT-2, which was trained without padding. */
    readonly padToken: string | null,
    readonly padTokenId: number | null,
    readonly vocabSize: number,
    /** The model's own chat template; null if it has none. */
    readonly chatTemplate: ChatTemplate | null,
    /** All tokens that end a text in generation: `eosTokenId` and those in generation_config.json or config.json. */
    readonly endTokenIds: readonly number[],
  ) {
    this.#tokenizer = tokenizer;
    this.#split = splitter(addedTokens);
    this.splitsAtGaps = !addPrefixSpace && !addedTokens.some(({ content }) => SPACE.test(content));
    this.#addPrefixSpace = addPrefixSpace;
  }

  /**
   * @param model a model's name or folder, as in `GPT2.fromPretrained`; for a model on the hub, only the tokenizer's
   *   files are downloaded.
   * @throws InputError if the model does not exist, HubError if it cannot be downloaded, FileError if its tokenizer
   *   cannot be read.
   */
  static async fromPretrained(model: string, options?: DownloadOptions): Promise<Tokenizer> {
    const { tokenizer: folder, folder: ofModel } = await modelFiles(model, ['tokenizer'], { ...options, checks: {} });
    const files = readTokenizerFiles(folder);
    const { eosToken, padToken, path } = files;
    const template = await ChatTemplate.read(folder, files.config, files.special);
    // Import only its tokenizers: its main entry also loads an image library, whose binary is missing after an install
    // without scripts.
    // @ts-expect-error: the package has types only for its main entry
    const { GPT2Tokenizer } = (await import('@xenova/transformers/src/tokenizers.js')) as TokenizersModule;
    const tokenizer = new GPT2Tokenizer(engineJson(files), {});
    tokenizer.pre_tokenizer.pattern = WORDS;

    const ids = tokenizer.model.tokens_to_ids;
    const id = (token: string): number => {
      const found = ids.get(token);
      if (found === undefined) throw new FileError(path, `its vocabulary lacks the special token "${token}"`);
      return found;
    };
    return new Tokenizer(
      tokenizer,
      files,
      eosToken,
      id(eosToken),
      padToken,
      padToken === null ? null : id(padToken),
      ids.size,
      template,
      [...new Set([id(eosToken), ...readEndTokens(ofModel)])],
    );
  }

  /**
   * Converts a text to token ids. A special token written in the text becomes its id. Nothing is added at either end.
   *
   * @throws InputError if the text has more than a million characters, contains half of a surrogate pair (not a
   *   character, so it has no bytes), or contains something that the vocabulary lacks.
   */
  encode(text: string): number[] {
    if (text.length > LONGEST)
      throw new InputError(
        `the text has ${text.length} characters, and at most ${LONGEST} are tokenized: no GPT-2 can read that ` +
          'many; shorten it',
      );
    const lone = text.search(LONE_SURROGATE);
    if (lone >= 0)
      throw new InputError(
        `the text holds half of a surrogate pair at index ${lone}: it was cut within a character; fix it where ` +
          'it is created',
      );
    const ids = this.#split(text).flatMap((piece) => (typeof piece === 'number' ? [piece] : this.#bpe(piece)));
    return ids.slice(); // a list that grew has spare room, which many rows would keep: three times their ids
  }

  /**
   * The pieces that BPE receives one by one: words, and ids of added tokens. If `splitsAtGaps`, equal words have equal
   * ids.
   */
  words(text: string): Piece[] {
    return this.#split(text).flatMap<Piece>((piece) =>
      typeof piece === 'number' ? [piece] : (piece.match(WORDS) ?? []),
    );
  }

  #bpe(text: string): number[] {
    const prefixed = this.#addPrefixSpace && !SPACED.test(text) ? ` ${text}` : text;
    const ids: number[] = [];
    for (const word of prefixed.match(WORDS) ?? [])
      for (const id of this.#ids.get(word) ?? this.#idsOf(word)) ids.push(id);
    return ids;
  }

  /** The ids of a word, which are the same wherever it is; kept, because texts repeat their words. */
  #idsOf(word: string): readonly number[] {
    const ids = this.#encoded(word);
    if (word.length > LONGEST_KEPT) return ids;
    if (this.#ids.size === MOST_KEPT) this.#ids.clear();
    this.#ids.set(word, ids);
    return ids;
  }

  #encoded(text: string): readonly number[] {
    const ids = this.#tokenizer.encode(text);
    if (ids.every((id) => id !== undefined)) return ids;
    const unknown = [...text].find((character) => this.#tokenizer.encode(character).includes(undefined as never));
    throw new InputError(
      'the vocabulary has no token for ' +
        `${unknown === undefined ? 'a part of the text' : JSON.stringify(unknown)}; remove it from the text, or ` +
        'use a tokenizer that has all bytes',
    );
  }

  /**
   * The ids below a model's `vocabSize` that have no token. A padded embedding has such ids, and the model must not
   * generate them.
   */
  missingIds(vocabSize: number): number[] {
    const { vocab } = this.#tokenizer.model;
    return Array.from({ length: vocabSize }, (_, id) => id).filter((id) => vocab[id] === undefined);
  }

  /**
   * Converts ids to text, including special tokens and without changing spaces: `decode(encode(text))` is `text`.
   *
   * @throws InputError if an id is not in the vocabulary.
   */
  decode(ids: ArrayLike<number>): string {
    const unknown = Array.from(ids).find((id) => this.#tokenizer.model.vocab[id] === undefined);
    if (unknown !== undefined)
      throw new InputError(`${unknown} is not a token id; the vocabulary has 0 to ${this.vocabSize - 1}`);
    const options = { skip_special_tokens: false, clean_up_tokenization_spaces: false };
    return ids.length === 0 ? '' : this.#tokenizer.decode(Array.from(ids), options);
  }
}

/**
 * The JSON that @xenova/transformers receives: BPE alone. It knows added tokens only for decoding; they are located in
 * a text before it sees the rest.
 */
function engineJson({ model: { vocab, merges, ignoreMerges }, addedTokens }: TokenizerFiles): object {
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    added_tokens: addedTokens.map(({ id, content }) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: { type: 'BPE', unk_token: null, vocab, merges, ignore_merges: ignoreMerges },
  };
}
