/** Log-probs of preference pairs under the reference model. They never change, so they are computed once and kept. */
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';

import { FileError, InputError, plural } from '../errors';
import { SafetensorsFile } from '../formats/safetensors';
import { writeSafetensors } from '../formats/safetensorsWriter';
import type { GPT2 } from '../model/gpt2';
import type { Trainable } from '../model/weights';
import { isAlive } from '../processes';
import { RANGES, requireRange } from '../ranges';
import type { PairIds } from '../text/batch';
import { responseBatch, type PromptResponses, type ResponseBatch } from '../text/responseBatch';
import { computePolicy, device, tf } from '../tf';

/** Log-probs of a pair's responses under the reference, in nats. */
export interface RefLogps {
  readonly refChosenLogps: number;
  readonly refRejectedLogps: number;
}

/** Pairs in one forward pass, unless a caller says otherwise. */
const PAIRS_PER_PASS = 16;

export type ReferencedPair = PairIds & RefLogps;

export interface ReferenceOptions {
  /** Pairs per forward pass. Default 16. */
  batchSize?: number;
  /** Called with the number of pairs done so far. */
  onProgress?: (done: number) => void;
}

/** Chosen and rejected of each pair in one row, after their prompt, so that the prompt is computed once. */
export const pairBatch = (model: Trainable, pairs: readonly PairIds[]): ResponseBatch =>
  sharedBatch(model, rowsOf(pairs));

const rowsOf = (pairs: readonly PairIds[]): PromptResponses[] =>
  pairs.map(({ promptIds, chosenIds, rejectedIds }) => ({ promptIds, responses: [chosenIds, rejectedIds] }));

const sharedBatch = (model: Trainable, rows: readonly PromptResponses[]): ResponseBatch =>
  responseBatch(rows, { layout: 'shared', maxLength: model.config.blockSize });

/** Log-probs of whole responses under `model`, in nats: those of `batchSize` rows in turn, one for each response. */
export function* responseLogps(
  model: GPT2,
  rows: readonly PromptResponses[],
  batchSize: number,
): Generator<Float32Array, void> {
  for (let start = 0; start < rows.length; start += batchSize)
    yield tf.tidy(() =>
      model
        .score(sharedBatch(model, rows.slice(start, start + batchSize)))
        .sum(1)
        .dataSync<'float32'>(),
    );
}

/** Log-probs of the responses under `model`, a batch of pairs at a time. @throws InputError if one is not finite. */
export function referenceLogps(
  model: GPT2,
  pairs: readonly PairIds[],
  { batchSize = PAIRS_PER_PASS, onProgress }: ReferenceOptions = {},
): RefLogps[] {
  requireRange('batchSize', batchSize, RANGES.training.batchSize);
  const all: RefLogps[] = [];
  for (const sums of responseLogps(model, rowsOf(pairs), batchSize)) {
    const wrong = sums.findIndex((sum) => !Number.isFinite(sum));
    if (wrong >= 0)
      throw new InputError(
        `pair ${all.length + Math.floor(wrong / 2) + 1}: its log-prob under the reference is ${sums[wrong]}; ` +
          "the reference's weights or its sums are too large to compute with",
      );
    for (let n = 0; n < sums.length; n += 2) all.push({ refChosenLogps: sums[n]!, refRejectedLogps: sums[n + 1]! });
    onProgress?.(all.length);
  }
  return all;
}

/**
 * The same, kept in `folder` as reference-….safetensors. The name contains a fingerprint of the model's weights, the
 * pairs and the way they are computed, so that other runs with the same find the file. A computation that was killed
 * continues where it stopped.
 *
 * @throws FileError if the file is damaged.
 */
export function keptReferenceLogps(
  folder: string,
  model: GPT2,
  pairs: readonly PairIds[],
  options: ReferenceOptions = {},
): RefLogps[] {
  const path = join(folder, `reference-${fingerprint(model, pairs, options).slice(0, 16)}.safetensors`);
  if (!existsSync(path)) {
    mkdirSync(folder, { recursive: true });
    const partial = adopted(path);
    const made = resumedLogps(partial, model, pairs, options);
    const column = (name: keyof RefLogps) => ({
      name,
      shape: [made.length],
      values: Float32Array.from(made, (pair) => pair[name]),
    });
    writeSafetensors(path, [column('refChosenLogps'), column('refRejectedLogps')]);
    rmSync(partial);
  }
  using file = new SafetensorsFile(path);
  const [chosen, rejected] = (['refChosenLogps', 'refRejectedLogps'] as const).map((name) => {
    if (file.tensors.get(name)?.shape.join() !== `${pairs.length}`)
      throw new FileError(
        path,
        `has no "${name}" of ${plural(pairs.length, 'pair')}; remove the file, and it will be computed again`,
      );
    return file.float32(name);
  }) as [Float32Array, Float32Array];
  return pairs.map((_, n) => ({ refChosenLogps: chosen[n]!, refRejectedLogps: rejected[n]! }));
}

/** This process's partial file of `path`: one left by a process that has ended, renamed, or a new one. */
function adopted(path: string): string {
  const own = `${path}.${process.pid}.partial`;
  const [folder, name] = [dirname(path), basename(path)];
  const left = readdirSync(folder).filter(
    (entry) =>
      entry.startsWith(`${name}.`) &&
      entry.endsWith('.partial') &&
      !isAlive(Number(entry.slice(name.length + 1, -'.partial'.length))),
  );
  if (left[0] !== undefined) renameSync(join(folder, left[0]), own);
  for (const other of left.slice(1)) rmSync(join(folder, other));
  return own;
}

/**
 * Many pairs can take hours, so each batch is appended to `partial` when it is done, two float32 per pair. A run that
 * was killed continues after its last complete batch, with the same bits.
 */
function resumedLogps(
  partial: string,
  model: GPT2,
  pairs: readonly PairIds[],
  { batchSize = PAIRS_PER_PASS, onProgress }: ReferenceOptions,
): RefLogps[] {
  const kept = existsSync(partial) ? readFileSync(partial) : Buffer.alloc(0);
  const count = Math.floor(kept.length / 8 / batchSize) * batchSize;
  const all = Array.from({ length: count }, (_, n): RefLogps => ({
    refChosenLogps: kept.readFloatLE(8 * n),
    refRejectedLogps: kept.readFloatLE(8 * n + 4),
  }));
  const file = openSync(partial, 'a');
  try {
    ftruncateSync(file, 8 * count);
    for (let start = count; start < pairs.length; start += batchSize) {
      const made = referenceLogps(model, pairs.slice(start, start + batchSize), { batchSize });
      writeSync(
        file,
        new Uint8Array(
          Float32Array.from(made.flatMap(({ refChosenLogps, refRejectedLogps }) => [refChosenLogps, refRejectedLogps]))
            .buffer,
        ),
      );
      for (const one of made) all.push(one);
      onProgress?.(all.length);
    }
  } finally {
    closeSync(file);
  }
  return all;
}

/** The pairs with their reference log-probs. @throws InputError if their numbers differ. */
export function withReference(pairs: readonly PairIds[], reference: readonly RefLogps[]): ReferencedPair[] {
  if (reference.length !== pairs.length)
    throw new InputError(
      `the reference has log-probs of ${plural(reference.length, 'pair')}, but there are ${pairs.length}`,
    );
  return pairs.map((pair, n) => ({ ...pair, ...reference[n]! }));
}

/** Batch size, compute policy and device belong to it, because sums round differently under others. */
function fingerprint(model: GPT2, pairs: readonly PairIds[], { batchSize = PAIRS_PER_PASS }: ReferenceOptions): string {
  const hash = createHash('sha256').update(
    JSON.stringify([model.config, pairs, batchSize, computePolicy, device().name]),
  );
  for (const name of model.weights.names) hash.update(model.weights.values(name));
  return hash.digest('hex');
}
