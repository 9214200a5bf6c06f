/** Turns prompts and their responses into one batch in which the model scores the tokens of the responses. */
import { InputError, plural } from '../errors';
import { largest } from '../ranges';
import { packed } from './packing';

/** A prompt with one response (SFT), two (a preference pair: chosen, rejected), or more (a group). */
export interface PromptResponses {
  readonly promptIds: readonly number[];
  readonly responses: readonly (readonly number[])[];
}

/**
 * The layout of the tokens.
 * - `padded`: One row per response, with its prompt before it. This is the simplest form.
 * - `shared`: One row per prompt, followed by all its responses, none of which sees another. The prompt is computed
 *   once.
 * - `packed`: All prompts with their responses in a single row, without padding. The cost of attention grows with the
 *   square of the row's length.
 * - `fitted`: As `shared`, but short ones stand side by side in rows of the longest one's length, with little padding.
 *   Attention costs rows times their length squared, so rows that are as short as the longest prompt with its responses
 *   allows, and as few of them as possible, cost about the least: never more than `shared`, and less than `packed` as
 *   soon as one row does not do.
 *
 * All layouts give the same log-probs: a token sees its prompt and the earlier tokens of its own response, at the same
 * positions.
 */
export type Layout = 'padded' | 'shared' | 'packed' | 'fitted';

/** Plain numbers, computed once on the host. B rows of T tokens each; a token's index is its row * T + its column. */
export interface TokenRows {
  readonly shape: readonly [B: number, T: number];
  /** [B * T]: token ids; 0 on padding. */
  readonly ids: Int32Array;
  /** [B * T]: the position in the token's own sequence; the prompt's first token is at 0. */
  readonly positions: Int32Array;
  /** [N]: the indices of the tokens, row by row; all other indices are padding. */
  readonly tokens: Int32Array;
  /** [B, T, T]: 1 where a token (second axis) sees another (third axis), else 0. */
  readonly visible: Uint8Array;
}

export interface ResponseBatch extends TokenRows {
  /** The tokens of the responses, one response after another. */
  readonly scored: {
    /**
     * The index of the token whose logits predict this one: the preceding token or, for a response's first token, the
     * prompt's last.
     */
    readonly from: Int32Array;
    readonly ids: Int32Array;
    /** The flat index into [R, L] of this token's log-prob. */
    readonly to: Int32Array;
  };
  /** [R]: the index of each response's last token. */
  readonly ends: Int32Array;
  /** [R]: the index of the last token of each response's prompt. */
  readonly promptEnds: Int32Array;
  /** [R, L]: R responses, in the order given, and the length L of the longest. */
  readonly responses: readonly [R: number, L: number];
  /** [R, L]: 1 on a response's tokens, else 0. */
  readonly responseMask: Int32Array;
}

/** Maximum number of token pairs in `visible` per batch: 2 GB as bytes, four times as much in float32. */
const MOST_PAIRS = 2 ** 31;

/**
 * @param options.maxLength maximum number of tokens in a prompt plus one response, such as the model's `blockSize`.
 * @throws InputError naming the row if a prompt or response is empty or too long, or an id is not a non-negative
 *   integer; also if the batch is too large.
 */
export function responseBatch(
  rows: readonly PromptResponses[],
  { layout = 'shared', maxLength = Infinity }: { layout?: Layout; maxLength?: number } = {},
): ResponseBatch {
  if (rows.length === 0) throw new InputError('a batch needs at least one row');
  rows.forEach((row, index) => check(row, index, maxLength));
  const trees =
    layout === 'padded'
      ? rows.flatMap(({ promptIds, responses }) => responses.map((response) => ({ promptIds, responses: [response] })))
      : rows;
  const lengths = trees.map(
    ({ promptIds, responses }) => promptIds.length + sum(responses.map((response) => response.length)),
  );
  const T = layout === 'packed' ? sum(lengths) : largest(lengths);
  const places = placesOf(layout, lengths, T);
  const B = places.length;

  if (B * T * T > MOST_PAIRS)
    throw new InputError(
      `${plural(rows.length, 'row')} of up to ${plural(largest(lengths), 'token')} are too many for one batch: the ` +
        `mask of which token sees which would take ${Math.ceil((B * T * T) / 1e9)} GB; lower batchSize, and raise ` +
        'accumulation for the same sum',
    );
  const starts = startsOf(places, lengths, T);
  const all = trees.flatMap(({ responses }) => responses);
  const [R, L] = [all.length, largest(all.map((response) => response.length))];
  const scored = sum(all.map((response) => response.length));
  const batch = {
    shape: [B, T] as const,
    ids: new Int32Array(B * T),
    positions: new Int32Array(B * T),
    tokens: Int32Array.from(
      places.flat().flatMap((tree) => Array.from({ length: lengths[tree]! }, (_, i) => starts[tree]! + i)),
    ),
    visible: new Uint8Array(B * T * T),
    scored: { from: new Int32Array(scored), ids: new Int32Array(scored), to: new Int32Array(scored) },
    ends: new Int32Array(R),
    promptEnds: new Int32Array(R),
    responses: [R, L] as const,
    responseMask: new Int32Array(R * L),
  };

  let count = 0; // scored tokens so far
  let response = 0;
  trees.forEach((tree, index) => {
    const start = starts[index]!;
    const prompt = tree.promptIds.length;
    place(batch, start, start, 0, tree.promptIds);
    let at = start + prompt;
    for (const ids of tree.responses) {
      place(batch, at, start, prompt, ids);
      ids.forEach((id, i) => {
        batch.scored.from[count] = i === 0 ? start + prompt - 1 : at + i - 1;
        batch.scored.ids[count] = id;
        batch.scored.to[count] = response * L + i;
        count += 1;
      });
      batch.responseMask.fill(1, response * L, response * L + ids.length);
      at += ids.length;
      batch.ends[response] = at - 1;
      batch.promptEnds[response] = start + prompt - 1;
      response += 1;
    }
  });
  seeThemselves(batch);
  return batch;
}

/** For each row of the batch the indices of the trees in it. */
function placesOf(layout: Layout, lengths: readonly number[], T: number): readonly (readonly number[])[] {
  if (layout === 'fitted') return packed(lengths, T);
  const all = lengths.map((_, index) => index);
  return layout === 'packed' ? [all] : all.map((index) => [index]);
}

/** The index of each tree's first token, if row n of T tokens holds the trees `rows[n]`, one after another. */
function startsOf(rows: readonly (readonly number[])[], lengths: readonly number[], T: number): number[] {
  const starts: number[] = [];
  rows.forEach((trees, row) => {
    let next = row * T;
    for (const tree of trees) {
      starts[tree] = next;
      next += lengths[tree]!;
    }
  });
  return starts;
}

/**
 * [R]: for each prompt with its response, the index of the last token that is not `padTokenId`, where transformers'
 * sequence classifiers read a score. If every token is `padTokenId`, it is the prompt's first token, as in
 * transformers. If `padTokenId` is null, it is the last token.
 */
export function lastTokens({ ids, positions, ends, promptEnds }: ResponseBatch, padTokenId: number | null): Int32Array {
  return ends.map((end, response) => {
    const promptEnd = promptEnds[response]!;
    const [begin, start] = [end - (positions[end]! - positions[promptEnd]! - 1), promptEnd - positions[promptEnd]!];
    for (let index = end; index >= begin; index -= 1) if (ids[index] !== padTokenId) return index;
    for (let index = promptEnd; index > start; index -= 1) if (ids[index] !== padTokenId) return index;
    return start;
  });
}

/** Makes one row per prompt. Each prompt needs at least one token. */
export function promptRows(prompts: readonly (readonly number[])[]): TokenRows {
  const [B, T] = [prompts.length, Math.max(...prompts.map((prompt) => prompt.length))];
  const rows = {
    shape: [B, T] as const,
    ids: new Int32Array(B * T),
    positions: new Int32Array(B * T),
    tokens: Int32Array.from(prompts.flatMap((prompt, row) => prompt.map((_, i) => row * T + i))),
    visible: new Uint8Array(B * T * T),
  };
  prompts.forEach((prompt, row) => place(rows, row * T, row * T, 0, prompt));
  seeThemselves(rows);
  return rows;
}

/**
 * Writes a run of tokens, starting at index `at`. Each token sees the first `prompt` tokens of its tree, itself, and
 * the earlier tokens of the run.
 */
function place(
  { shape: [, T], ids, positions, visible }: TokenRows,
  at: number,
  tree: number,
  prompt: number,
  run: readonly number[],
): void {
  const column = (index: number) => index % T;
  run.forEach((id, i) => {
    ids[at + i] = id;
    positions[at + i] = prompt + i;
    const row = (at + i) * T;
    visible.fill(1, row + column(tree), row + column(tree) + prompt);
    visible.fill(1, row + column(at), row + column(at) + i + 1);
  });
}

/** Padding sees only itself: every token must see something, since a softmax over nothing is undefined. */
function seeThemselves({ shape: [B, T], visible }: TokenRows): void {
  for (let index = 0; index < B * T; index += 1) visible[index * T + (index % T)] = 1;
}

function check({ promptIds, responses }: PromptResponses, index: number, maxLength: number): void {
  if (responses.length === 0) throw new InputError(`row ${index}: it has no response`);
  const named = [['promptIds', promptIds] as const, ...responses.map((ids, n) => [`response ${n}`, ids] as const)];
  for (const [name, ids] of named) {
    if (ids.length === 0) throw new InputError(`row ${index}: ${name} is empty`);
    const wrong = ids.find((id) => !Number.isInteger(id) || id < 0);
    if (wrong !== undefined) throw new InputError(`row ${index}: ${name} holds ${wrong}, which is not a token id`);
  }
  const longest = promptIds.length + Math.max(...responses.map((ids) => ids.length));
  if (longest > maxLength)
    throw new InputError(
      `row ${index}: ${plural(longest, 'token')}, the limit is ${maxLength}; shorten its texts or leave it out`,
    );
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
