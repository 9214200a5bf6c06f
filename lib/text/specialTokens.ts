/**
 * The tokens that a model folder's files add to the vocabulary, with their ids, combined as in transformers 5.23. They
 * are matched literally in a text, before BPE.
 */
import { FileError, plural, quoted } from '../errors';
import type { JsonObject as Json } from '../formats/jsonFile';

/** An entry of tokenizer.json's `added_tokens`, with the properties that are reproduced here. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** Whether Python searches for it in the normalized text, after searching the text itself for the others. */
  readonly normalized: boolean;
}

/**
 * The transformers classes that are reproduced. `GPT2Tokenizer` is built from the vocabulary and merges alone;
 * `TokenizersBackend` is tokenizer.json unchanged.
 */
export type TokenizerClass = 'GPT2Tokenizer' | 'TokenizersBackend';

/** Contents of the files that define tokens. */
export interface TokenSources {
  /** "added_tokens" from tokenizer.json; undefined if that file is missing. */
  readonly json: readonly unknown[] | undefined;
  /** tokenizer_config.json, special_tokens_map.json and added_tokens.json; an empty object for a missing file. */
  readonly config: Json;
  readonly map: Json;
  readonly added: Json;
  /** The files named in error messages. */
  readonly path: string;
  readonly configPath: string;
}

export interface SpecialTokens {
  /** Contains each id and each content once. */
  readonly addedTokens: readonly AddedToken[];
  /** Special tokens by the names that chat templates use, such as `eos_token`. */
  readonly named: Readonly<Record<string, string>>;
}

export const END_OF_TEXT = '<|endoftext|>';

/**
 * The names of special tokens in transformers, in its order. In a GPT2Tokenizer the first three are `<|endoftext|>`
 * unless a file says otherwise.
 */
const NAMES = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'];
const DEFAULTS: Readonly<Record<TokenizerClass, Json>> = {
  GPT2Tokenizer: { bos_token: END_OF_TEXT, eos_token: END_OF_TEXT, unk_token: END_OF_TEXT },
  TokenizersBackend: {},
};

/** A token that may not have an id yet. */
type Draft = Omit<AddedToken, 'id'> & { readonly id?: number };

/**
 * The settings that name special tokens. If "added_tokens_decoder" is present, it replaces the older files, which are
 * then ignored; otherwise special_tokens_map.json takes precedence.
 */
export function tokenSettings({ config, map }: Pick<TokenSources, 'config' | 'map'>): Json {
  return 'added_tokens_decoder' in config ? config : { ...config, ...map };
}

/**
 * Tokens come in the order of the ids that the files declare, followed by those that only have a name. A token that is
 * already in the vocabulary keeps its id, and any other gets the next free id. A file that declares a different id is
 * refused.
 *
 * @throws FileError if a token is malformed, has a flag that is not reproduced, or would get a different id in Python.
 */
export function specialTokens(
  sources: TokenSources,
  vocab: Readonly<Record<string, number>>,
  tokenizerClass: TokenizerClass,
): SpecialTokens {
  const { config, path, configPath } = sources;
  const settings = tokenSettings(sources);
  const named = namesOf(settings, DEFAULTS[tokenizerClass]);
  const listed = ['extra_special_tokens', 'additional_special_tokens']
    .map((name) => settings[name])
    .find((list) => Array.isArray(list) && list.length > 0);
  const special = [...named.values(), ...(Array.isArray(listed) ? listed.filter(isToken) : [])];
  const isSpecial = (text: string) => special.some((token) => contentOf(token) === text);

  const inJson = (sources.json ?? []).map((token) => draft(token, path));
  const declared =
    'added_tokens_decoder' in config
      ? decoderDrafts(config['added_tokens_decoder'], configPath)
      : [
          ...Object.entries(sources.added).map(([text, id]) =>
            draft({ content: text, id, normalized: !isSpecial(text) }, path),
          ),
          ...inJson,
        ];
  const whole = tokenizerClass === 'TokenizersBackend' ? inJson : [];
  const known = new Set([...whole, ...declared].map(({ content }) => content));
  const onlyNamed = special.filter((token) => !known.has(contentOf(token)));
  const given = [...Object.values(settings), ...(Array.isArray(listed) ? (listed as unknown[]) : [])];
  for (const text of onlyNamed.map(contentOf)) {
    if (Object.hasOwn(vocab, text) || !given.some((value) => isToken(value) && contentOf(value) === text)) continue;
    throw new FileError(
      path,
      `its vocabulary lacks the special token ${quoted(text)}, which ${configPath} names; save the tokenizer ` +
        'again with save_pretrained, or take the name out',
    );
  }
  const drafts = [
    ...whole,
    ...[...declared].sort((a, b) => a.id! - b.id!),
    ...onlyNamed.map((token) =>
      draft(typeof token === 'string' ? { content: token, special: true } : token, configPath, false),
    ),
  ];
  const addedTokens = numbered(drafts, vocab, path);

  const lost = inJson.find(({ content }) => !addedTokens.some((token) => token.content === content));
  if (lost !== undefined)
    throw new FileError(
      configPath,
      `its "added_tokens_decoder" lacks ${quoted(lost.content)}, which tokenizer.json adds, so transformers ` +
        'and tokenizers give other ids; add it there, or save the tokenizer again',
    );
  return { addedTokens, named: Object.fromEntries([...named].map(([name, token]) => [name, contentOf(token)])) };
}

/**
 * Tokens that have a name, as texts or as objects with flags: first the common names, then any other name that ends in
 * "_token", then named extra tokens.
 */
function namesOf(settings: Json, defaults: Json): ReadonlyMap<string, string | Json> {
  const extra = isObject(settings['extra_special_tokens']) ? settings['extra_special_tokens'] : {};
  const own = Object.fromEntries(
    Object.entries(settings).filter(([name]) => name.endsWith('_token') && !NAMES.includes(name)),
  );
  const all: Json = {
    ...Object.fromEntries(NAMES.map((name) => [name, name in settings ? settings[name] : defaults[name]])),
    ...own,
    ...extra,
  };
  return new Map(Object.entries(all).filter((entry): entry is [string, string | Json] => isToken(entry[1])));
}

function decoderDrafts(listed: unknown, path: string): Draft[] {
  if (!isObject(listed))
    throw new FileError(
      path,
      `its "added_tokens_decoder" ${quoted(JSON.stringify(listed))} is not an object of tokens by their ids; ` +
        'save the tokenizer again',
    );
  return Object.entries(listed).map(([id, token]) =>
    draft({ ...(isObject(token) ? token : {}), id: Number(id) }, path),
  );
}

/** @param declared whether the file must give the token's id; a token that only has a name has no id. */
function draft(token: unknown, path: string, declared = true): Draft {
  const { content, id, special = false, normalized = special !== true, ...flags } = isObject(token) ? token : {};
  if (typeof content !== 'string' || content === '' || (declared && !(Number.isInteger(id) && (id as number) >= 0))) {
    throw new FileError(
      path,
      `has an added token ${quoted(JSON.stringify(token))} without a text and an id; save the tokenizer again`,
    );
  }
  for (const flag of ['lstrip', 'rstrip', 'single_word']) {
    if (flags[flag] === true)
      throw new FileError(
        path,
        `its added token ${quoted(content)} with ${flag} is not reproduced here, so texts would get other ` +
          'ids than in Python; use a tokenizer without it',
      );
  }
  return { content, normalized: normalized === true, ...(declared && { id: id as number }) };
}

/**
 * Assigns ids as the tokenizers library does (`AddedVocabulary::add_tokens`). A token that occurs again keeps its id
 * and takes the new flags.
 */
function numbered(drafts: readonly Draft[], vocab: Readonly<Record<string, number>>, path: string): AddedToken[] {
  const size = Object.keys(vocab).length;
  const taken = new Set(Object.values(vocab));
  const tokens = new Map<string, AddedToken>();
  let next = size;
  for (const { content, normalized, id: declared } of drafts) {
    const known = tokens.get(content)?.id ?? (Object.hasOwn(vocab, content) ? vocab[content] : undefined);
    if (known === undefined && taken.has(next))
      throw new FileError(
        path,
        `its vocabulary has ${plural(size, 'token')}, and the id ${next} among them, so an added token would share ` +
          `it; number the tokens from 0 to ${size - 1}`,
      );
    const id = known ?? next;
    if (declared !== undefined && declared !== id) {
      throw new FileError(
        path,
        `has the added token ${quoted(content)} under the id ${declared}, and Python gives it ${id}; number ` +
          `added tokens one after another from ${size}, or save the tokenizer again`,
      );
    }
    tokens.set(content, { id, content, normalized });
    next = Math.max(next, id + 1);
  }
  return [...tokens.values()];
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
export const isToken = (value: unknown): value is string | Json =>
  typeof value === 'string' || (isObject(value) && typeof value['content'] === 'string');
export const contentOf = (token: string | Json): string =>
  typeof token === 'string' ? token : (token['content'] as string);

/** A piece of a text: an added token's id, or text for BPE. */
export type Piece = number | string;

/**
 * Splits texts as Python's tokenizers library does: at the leftmost added token, and at the longest one if several
 * start there. It first searches for tokens that are not `normalized`, then searches the remaining text for the others.
 */
export function splitter(tokens: readonly AddedToken[]): (text: string) => Piece[] {
  const passes = [tokens.filter(({ normalized }) => !normalized), tokens.filter(({ normalized }) => normalized)]
    .filter(({ length }) => length > 0)
    .map(pass);
  return (text) =>
    passes.reduce<Piece[]>(
      (pieces, split) => pieces.flatMap((piece) => (typeof piece === 'string' ? split(piece) : [piece])),
      text === '' ? [] : [text],
    );
}

function pass(tokens: readonly AddedToken[]): (text: string) => Piece[] {
  const ids = new Map(tokens.map(({ content, id }) => [content, id]));
  const longestFirst = [...ids.keys()].sort((a, b) => b.length - a.length);
  const found = new RegExp(
    `(${longestFirst.map((content) => content.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|')})`,
  );
  return (text) =>
    text
      .split(found)
      .filter((part) => part !== '')
      .map((part) => ids.get(part) ?? part);
}
