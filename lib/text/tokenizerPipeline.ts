/**
 * Checks that a tokenizer is reproduced here: only GPT-2's pipeline, byte-level BPE, is, with the same ids as Python
 * for every text. Any part that would change the ids is refused by name: nearly correct ids would train on nearly
 * correct text, without any warning.
 */
import { FileError, quoted } from '../errors';
import type { JsonObject } from '../formats/jsonFile';

/** The model of a tokenizer.json, checked. */
export interface BpeModel {
  readonly vocab: Readonly<Record<string, number>>;
  /** Each as `"a b"`, in order of priority, the first to try first. */
  readonly merges: readonly string[];
  readonly ignoreMerges: boolean;
}

const object = (value: unknown): JsonObject | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined;

/** The 256 symbols that represent bytes, as OpenAI's encoder.py maps them. */
const BYTE_SYMBOLS: readonly string[] = (() => {
  const printable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let others = 0;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : 256 + others++));
})();

/**
 * @param path the path of tokenizer.json, for messages.
 * @returns the BPE model, with its type inferred if an old file has none, and whether ByteLevel puts a space before a
 *   text.
 * @throws FileError naming a part that is not reproduced.
 */
export function checkPipeline(json: JsonObject, path: string): { model: BpeModel; addPrefixSpace: boolean } {
  const refuse = (part: string): never => {
    throw new FileError(
      path,
      `${part} is not reproduced here, so texts would get other ids than in Python; only GPT-2's byte-level ` +
        'BPE is',
    );
  };
  const model = checkModel(json.model, path, refuse);
  if (json.normalizer != null && !isEmptySequence(json.normalizer, 'normalizers'))
    refuse(`its normalizer ${nameOf(json.normalizer)}`);
  const preTokenizer = object(onlyOf(json.pre_tokenizer, 'pretokenizers'));
  if (preTokenizer?.type !== 'ByteLevel') refuse(`its pre_tokenizer ${nameOf(json.pre_tokenizer)}`);
  const { add_prefix_space: addPrefixSpace = false, use_regex: useRegex = true } = preTokenizer!;
  if (typeof addPrefixSpace !== 'boolean')
    refuse(`its pre_tokenizer's add_prefix_space ${quoted(String(addPrefixSpace))}`);
  if (useRegex !== true) refuse("its pre_tokenizer's use_regex false");
  if (object(onlyOf(json.decoder, 'decoders'))?.type !== 'ByteLevel') refuse(`its decoder ${nameOf(json.decoder)}`);
  const added = addedByTemplate(json.post_processor);
  if (added !== undefined) refuse(`its post_processor, ${added},`);
  return { model, addPrefixSpace: addPrefixSpace as boolean };
}

function checkModel(value: unknown, path: string, refuse: (part: string) => never): BpeModel {
  const model = object(value);
  const vocab = object(model?.vocab);
  const merges = model?.merges;
  // The tokenizers library wrote no type before 0.10; Python, too, infers it from the fields.
  const type = model?.type ?? (vocab && Array.isArray(merges) ? 'BPE' : undefined);
  if (type !== 'BPE')
    refuse(`its model ${type === undefined ? 'without a type, and without vocab and merges,' : quoted(String(type))}`);
  if (!vocab || !Array.isArray(merges)) throw new FileError(path, 'has no BPE vocabulary and merges');
  for (const [token, id] of Object.entries(vocab)) {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id > 0x7fffffff)
      throw new FileError(
        path,
        `its vocabulary gives ${quoted(token)} the id ${quoted(String(id))}; an id is a whole number from 0 to ` +
          '2147483647',
      );
  }
  const off = (name: string, ...values: readonly unknown[]) => {
    const given = model?.[name] ?? null;
    if (given !== null && !values.includes(given)) refuse(`its model's ${name} ${quoted(String(given))}`);
  };
  off('dropout', 0);
  off('continuing_subword_prefix', '');
  off('end_of_word_suffix', '');
  off('byte_fallback', false);
  off('ignore_merges', true, false);
  const unknown = model?.unk_token;
  const incomplete = BYTE_SYMBOLS.some((symbol) => !Object.hasOwn(vocab, symbol));
  if (unknown != null && unknown !== '' && incomplete)
    refuse(`its model's unk_token ${quoted(String(unknown))}, with a vocabulary that lacks some bytes,`);
  return {
    vocab: vocab as Record<string, number>,
    merges: merges.map((merge, n) => joined(merge, n, path)),
    ignoreMerges: model?.ignore_merges === true,
  };
}

/**
 * Files written by tokenizers 0.20 and later store a merge as a pair, ["Ġ", "t"]; @xenova/transformers reads only the
 * older "Ġ t". A byte-level token contains no space, so joining loses nothing.
 */
function joined(merge: unknown, n: number, path: string): string {
  const parts = typeof merge === 'string' ? merge.split(' ') : merge;
  if (
    !Array.isArray(parts) ||
    parts.length !== 2 ||
    !parts.every((part) => typeof part === 'string' && part !== '' && !part.includes(' '))
  ) {
    throw new FileError(path, `its merge ${n}, ${quoted(JSON.stringify(merge))}, is not two tokens`);
  }
  return parts.join(' ');
}

/** Unwraps a part that is the only one in a Sequence. */
function onlyOf(part: unknown, list: string): unknown {
  const parts = object(part)?.type === 'Sequence' ? object(part)?.[list] : undefined;
  return Array.isArray(parts) && parts.length === 1 ? onlyOf(parts[0], list) : part;
}

const isEmptySequence = (part: unknown, list: string): boolean =>
  object(part)?.type === 'Sequence' &&
  Array.isArray(object(part)![list]) &&
  (object(part)![list] as unknown[]).length === 0;

const nameOf = (part: unknown): string => {
  const { type, pretokenizers, normalizers, decoders } = object(part) ?? {};
  const parts = [pretokenizers, normalizers, decoders].find(Array.isArray) as unknown[] | undefined;
  if (type === 'Sequence' && parts) return `Sequence of ${parts.map(nameOf).join(', ')}`;
  return part == null ? 'null' : quoted(String(type)).slice(1, -1);
};

/**
 * The tokens that a post-processor would put around a text; undefined if none. Prompt and response are encoded
 * separately, so tokens around each of them would end up in the middle of a row.
 */
function addedByTemplate(part: unknown): string | undefined {
  const processor = object(part);
  if (!processor || processor.type === 'ByteLevel') return undefined; // it changes only offsets
  if (processor.type === 'Sequence' && Array.isArray(processor.processors))
    return processor.processors.map(addedByTemplate).find((said) => said !== undefined);
  if (processor.type !== 'TemplateProcessing') return nameOf(part);
  const pieces = Array.isArray(processor.single)
    ? processor.single.map((piece: unknown) => object(object(piece)?.SpecialToken)?.id)
    : ['?'];
  const tokens = pieces.filter((id) => id !== undefined);
  return tokens.length === 0 ? undefined : `TemplateProcessing, which adds ${tokens.join(' and ')}`;
}
