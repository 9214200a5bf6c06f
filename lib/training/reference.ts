/** What the reference model says of preference pairs: it never changes, so it can be asked once, and the answer kept. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';

import { FileError, InputError } from '../errors';
import type { GPT2 } from '../model/gpt2';
import { SafetensorsFile } from '../model/safetensors';
import { writeSafetensors } from '../model/safetensorsWriter';
import type { Trainable } from '../model/weights';
import { RANGES, requireRange } from '../ranges';
import type { PairIds } from '../text/batch';
import { responseBatch, type ResponseBatch } from '../text/responseBatch';
import { computePolicy, device, tf } from '../tf';

/** Log-probs of a pair's responses under the reference, in nats. */
export interface RefLogps {
  readonly refChosenLogps: number;
  readonly refRejectedLogps: number;
}

export type ReferencedPair = PairIds & RefLogps;

export interface ReferenceOptions {
  /** Pairs at a time. Default 16. */
  batchSize?: number;
  /** Told how many pairs are done. */
  onProgress?: (done: number) => void;
}

/** Chosen and rejected of each pair in one row, after their prompt, which is so computed once. */
export function pairBatch(model: Trainable, pairs: readonly PairIds[]): ResponseBatch {
  const rows = pairs.map(({ promptIds, chosenIds, rejectedIds }) => ({ promptIds, responses: [chosenIds, rejectedIds] }));
  return responseBatch(rows, { layout: 'shared', maxLength: model.config.blockSize });
}

/** Log-probs of the responses under `model`, some pairs at a time. */
export function referenceLogps(model: GPT2, pairs: readonly PairIds[], { batchSize = 16, onProgress }: ReferenceOptions = {}): RefLogps[] {
  requireRange('batchSize', batchSize, RANGES.training.batchSize);
  const all: RefLogps[] = [];
  for (let start = 0; start < pairs.length; start += batchSize) {
    const sums = tf.tidy(() => model.score(pairBatch(model, pairs.slice(start, start + batchSize))).sum(1).dataSync());
    for (let n = 0; n < sums.length; n += 2) all.push({ refChosenLogps: sums[n]!, refRejectedLogps: sums[n + 1]! });
    onProgress?.(all.length);
  }
  return all;
}

/**
 * The same, kept in `folder` as reference-….safetensors, which carries a fingerprint of the model's weights, the pairs and how
 * they are computed in its name: other runs on the same find it there.
 *
 * @throws FileError if the file is damaged.
 */
export function keptReferenceLogps(folder: string, model: GPT2, pairs: readonly PairIds[], options: ReferenceOptions = {}): RefLogps[] {
  const path = join(folder, `reference-${fingerprint(model, pairs, options).slice(0, 16)}.safetensors`);
  if (!existsSync(path)) {
    const made = referenceLogps(model, pairs, options);
    mkdirSync(folder, { recursive: true });
    const column = (name: keyof RefLogps) => ({ name, shape: [made.length], values: Float32Array.from(made, (pair) => pair[name]) });
    writeSafetensors(path, [column('refChosenLogps'), column('refRejectedLogps')]);
  }
  using file = new SafetensorsFile(path);
  const [chosen, rejected] = (['refChosenLogps', 'refRejectedLogps'] as const).map((name) => {
    if (file.tensors.get(name)?.shape.join() !== `${pairs.length}`) throw new FileError(path, `has no "${name}" of ${pairs.length} pairs; remove it, and it is made anew`);
    return file.float32(name);
  }) as [Float32Array, Float32Array];
  return pairs.map((_, n) => ({ refChosenLogps: chosen[n]!, refRejectedLogps: rejected[n]! }));
}

/** @throws InputError if there are not as many of the one as of the other. */
export function withReference(pairs: readonly PairIds[], reference: readonly RefLogps[]): ReferencedPair[] {
  if (reference.length !== pairs.length) throw new InputError(`the reference has log-probs of ${reference.length} pairs, but there are ${pairs.length}`);
  return pairs.map((pair, n) => ({ ...pair, ...reference[n]! }));
}

/** In other batches, and elsewhere, sums round otherwise. */
function fingerprint(model: GPT2, pairs: readonly PairIds[], { batchSize = 16 }: ReferenceOptions): string {
  const hash = createHash('sha256').update(JSON.stringify([model.config, pairs, batchSize, computePolicy, device().name]));
  for (const name of model.weights.names) hash.update(model.weights.values(name));
  return hash.digest('hex');
}
