/** Writes a training as a folder that TRL continues on any number of processes; see README.md beside this file. */
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { mayReplace, recoverFolder, replaceFolder } from '../formats/replace';
import { writeExport, type Companions } from '../model/export';
import type { Trainable } from '../model/weights';
import type { PairIds } from '../text/batch';
import type { PromptResponses } from '../text/responseBatch';
import type { RefLogps } from '../training/reference';
import type { HandoffKind } from './compare';

/** A row in the form that train.py's trainer takes. */
export type HandoffRow = Readonly<Record<string, number | readonly number[]>>;

export function dpoRow({ promptIds, chosenIds, rejectedIds }: PairIds, reference: RefLogps): HandoffRow {
  return {
    prompt_ids: [...promptIds],
    chosen_ids: [...chosenIds],
    rejected_ids: [...rejectedIds],
    ref_chosen_logps: reference.refChosenLogps,
    ref_rejected_logps: reference.refRejectedLogps,
  };
}

export function sftRow({ promptIds, responses }: PromptResponses): HandoffRow {
  const response = responses[0]!;
  return {
    input_ids: [...promptIds, ...response],
    completion_mask: [...promptIds.map(() => 0), ...response.map(() => 1)],
  };
}

/** Ids are handed over as the prompt itself: TRL would encode a text in its own way. */
export const promptRow = (promptIds: readonly number[]): HandoffRow => ({ prompt: promptIds });

/** Gives every pair a margin if any pair has one, since a column cannot have gaps. */
export function rewardRow({ promptIds, chosenIds, rejectedIds, margin }: PairIds, withMargin: boolean): HandoffRow {
  return {
    chosen_ids: [...promptIds, ...chosenIds],
    rejected_ids: [...promptIds, ...rejectedIds],
    ...(withMargin && { margin: margin ?? 0 }),
  };
}

export interface Handoff {
  /** GRPO's steps are not compared. */
  readonly kind: HandoffKind | 'grpo';
  /** The value of every setting under its name in run.json, defaults included. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** All rows of the data, in the order of the file. */
  readonly rows: readonly HandoffRow[];
  /** Indices into `rows`, of length steps x batchSize: the row for each place in each batch. */
  readonly order: readonly number[];
  /** The model at the start of the training; `companions` come from `exportCompanions`. */
  readonly model: Trainable;
  readonly companions: Companions;
  /** The version of alignbook. */
  readonly version: string;
}

/** The files that are identical in every handed-over folder. */
const FIXED = [
  'README.md',
  'train.py',
  'ray_train.py',
  'requirements.txt',
  'requirements-ray.txt',
  'ddp.yaml',
  'fsdp2.yaml',
] as const;
const OF_GRPO = ['grpo.py', 'reward.py'] as const;

/**
 * Writes the complete folder or nothing.
 *
 * @param expected runs alignbook's own first steps, after the initial model is written, and returns their metrics in
 *   order; for GRPO there are none.
 * @throws InputError if `path` exists and is not empty; also whatever `expected` throws.
 */
export async function writeHandoff(
  path: string,
  handoff: Handoff,
  expected: () => Promise<readonly object[]>,
): Promise<void> {
  const { kind, settings, model, companions, version } = handoff;
  mayReplace(path, {});
  const drafts = `${resolve(path)}.draft`;
  recoverFolder(drafts); // removes those of killed processes
  const draft = `${drafts}.${process.pid}.tmp`;
  const remove = () => rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { recursive: true });
  process.once('exit', remove); // a signal ends the process by way of `exit`
  try {
    // must happen before the steps change the model
    const start = model.weights.digest();
    writeExport(model, join(draft, 'model'), companions);
    const steps = await expected();
    const { rows, order } = used(handoff);
    const lines = rows.map((row) => `${JSON.stringify(row)}\n`).join('');
    const id = createHash('sha256')
      .update(JSON.stringify([kind, settings, order, steps.length, start]))
      .update(lines)
      .digest('hex');
    const write = (name: string, text: string) => writeFileSync(join(draft, name), text);
    write('rows.jsonl', lines);
    write('order.json', `${JSON.stringify(order)}\n`);
    write(
      'run.json',
      `${JSON.stringify({ id, kind, alignbook: version, compare: steps.length, settings }, null, 2)}\n`,
    );
    if (kind !== 'grpo') write('expected.jsonl', steps.map((step) => `${JSON.stringify(step)}\n`).join(''));
    for (const name of [...FIXED, ...(kind === 'grpo' ? OF_GRPO : [])])
      copyFileSync(join(ASSETS, name), join(draft, name));
    replaceFolder(path, {}, (folder) => {
      for (const name of readdirSync(draft)) renameSync(join(draft, name), join(folder, name));
    });
  } finally {
    process.off('exit', remove);
    remove();
  }
}

/** Folder of the other files, beside the sources: the compiler copies only TypeScript. */
const ASSETS = join(__dirname, '..', '..', 'handoff');

/** Keeps only the rows that the order names, once each, in the order of their first appearance. */
function used({ rows, order }: Handoff): { rows: HandoffRow[]; order: number[] } {
  const places = new Map<number, number>();
  for (const row of order) if (!places.has(row)) places.set(row, places.size);
  return { rows: [...places.keys()].map((row) => rows[row]!), order: order.map((row) => places.get(row)!) };
}
