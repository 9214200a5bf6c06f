/** Text -> token ids and back: GPT-2's byte-level BPE, from a model folder's files. */
import { FileError } from '../errors';
import type { DownloadOptions } from '../hub/download';
import { modelFolder } from '../hub/modelFolder';
import { readTokenizerFiles } from './tokenizerFiles';

/** The part of @xenova/transformers' tokenizer that is used here. */
interface PreTrainedTokenizer {
  encode(text: string): number[];
  decode(ids: number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string;
  readonly model: { readonly tokens_to_ids: ReadonlyMap<string, number> };
}

export class Tokenizer {
  readonly #tokenizer: PreTrainedTokenizer;

  private constructor(
    tokenizer: PreTrainedTokenizer,
    /** Ends a text: `<|endoftext|>` for GPT-2. */
    readonly eosToken: string,
    readonly eosTokenId: number,
    /** Null for GPT-2, which was trained without padding. */
    readonly padToken: string | null,
    readonly padTokenId: number | null,
    readonly vocabSize: number,
  ) {
    this.#tokenizer = tokenizer;
  }

  /**
   * @param model a model's name or folder, as for `GPT2.fromPretrained`; of a hub's model only the tokenizer's files are
   *   downloaded.
   * @throws InputError if there is no such model, HubError if it cannot be downloaded, FileError if its tokenizer cannot
   *   be read.
   */
  static async fromPretrained(model: string, options?: DownloadOptions): Promise<Tokenizer> {
    const { json, config, eosToken, padToken, path } = readTokenizerFiles(await modelFolder(model, ['tokenizer'], options));
    const { GPT2Tokenizer } = await import('@xenova/transformers');
    const tokenizer = new GPT2Tokenizer(json, config) as unknown as PreTrainedTokenizer;

    const ids = tokenizer.model.tokens_to_ids;
    const id = (token: string): number => {
      const found = ids.get(token);
      if (found === undefined) throw new FileError(path, `its vocabulary lacks the special token "${token}"`);
      return found;
    };
    return new Tokenizer(tokenizer, eosToken, id(eosToken), padToken, padToken === null ? null : id(padToken), ids.size);
  }

  /** The ids of a text; a special token written in it becomes its id. Nothing is added at either end. */
  encode(text: string): number[] {
    return this.#tokenizer.encode(text);
  }

  /** The text of ids, special tokens included, spaces untouched: `decode(encode(text))` is `text`. */
  decode(ids: ArrayLike<number>): string {
    const options = { skip_special_tokens: false, clean_up_tokenization_spaces: false };
    return ids.length === 0 ? '' : this.#tokenizer.decode(Array.from(ids), options);
  }
}
