/** Reads the folder of a run: metrics.jsonl, samples.jsonl and the settings, in whatever state the run left them. */
import { existsSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

import { FileError, InputError, oneLine, plural } from '../errors';
import { readJsonObject, type JsonObject } from '../formats/jsonFile';
import { readRows } from '../text/rows';
import { checkpoints } from '../training/checkpointFolders';
import { RunRecord } from '../training/runRecord';

/** Has the settings of a run, as they were given; written when it begins. */
export const SETTINGS_FILE = 'run-settings.json';

export interface ReadRun {
  readonly record: RunRecord;
  /** What was unusual about the files, one sentence each. */
  readonly notes: readonly string[];
}

/**
 * @param path a run's output folder, or its metrics.jsonl.
 * @throws FileError naming the file, and its line where there is one, if it is not a run or a line is damaged that is
 *   not the last.
 */
export async function readRun(path: string): Promise<ReadRun> {
  const folder = folderOf(path);
  const metrics = join(folder, 'metrics.jsonl');
  if (!existsSync(metrics))
    throw new FileError(path, 'has no metrics.jsonl, so it is not the output folder of a training; give one that is');
  const record = new RunRecord();
  const notes: string[] = [];
  await eachLine(metrics, 'step', notes, (line) => record.add(line));
  if (record.steps.length === 0) throw new FileError(metrics, 'has no steps; the run has not finished its first one');
  if (record.method === undefined)
    throw new FileError(
      metrics,
      'has no metrics of a training command; give the output folder of train-sft, train-dpo, …',
    );
  if (record.repeated > 0) notes.push(`${plural(record.repeated, 'step')} came again later; the later lines count`);
  const missing = record.steps.at(-1)! - record.steps.length;
  if (missing > 0) notes.push(`${plural(missing, 'step')} before the last ${missing === 1 ? 'has' : 'have'} no line`);
  const samples = join(folder, 'samples.jsonl');
  if (existsSync(samples)) await addSamples(samples, record, notes);
  const settings = settingsOf(folder, notes);
  if (settings === undefined)
    notes.push('the settings of the run are not kept in its folder, so some rules cannot tell');
  else record.settings = settings;
  return { record, notes };
}

function folderOf(path: string): string {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) throw new FileError(path, 'does not exist; give the output folder of a training');
  if (found.isDirectory()) return path;
  if (basename(path) === 'metrics.jsonl') return dirname(path);
  throw new FileError(path, 'is not a run; give the output folder of a training, or its metrics.jsonl');
}

/** Calls `add` with each line of a file. A last line that was cut off is left out, with a note. */
async function eachLine(
  path: string,
  column: string,
  notes: string[],
  add: (line: Record<string, unknown>) => void,
): Promise<void> {
  let damaged: FileError | undefined;
  for await (const { place, parse } of readRows(path, [column])) {
    if (damaged !== undefined) throw damaged;
    try {
      add(parse());
    } catch (cause) {
      if (!(cause instanceof InputError)) throw cause;
      damaged = new FileError(path, `${place} ${cause.message}`, { cause });
    }
  }
  if (damaged === undefined) return;
  if (!(damaged.cause as Error).message.startsWith('is not JSON')) throw damaged;
  notes.push(`the last line of ${basename(path)} was cut off and is left out`);
}

/** Adds the length of each sampled answer and whether it ended, as far as its line says; step 0 is before the first. */
async function addSamples(path: string, { steps, answers }: RunRecord, notes: string[]): Promise<void> {
  await eachLine(path, 'step', notes, ({ step, tokens, ended }) => {
    if (typeof step !== 'number') throw new InputError('has no "step", so it is not a line of samples.jsonl');
    if (step > steps.at(-1)!) return; // of a step whose own line was cut off
    const length = Array.isArray(tokens) ? tokens.length : tokens;
    if (typeof length === 'number') answers.add(step, 'tokens', length);
    if (typeof ended === 'boolean') answers.add(step, 'ended', ended ? 1 : 0);
  });
}

/** The settings in run-settings.json or, of a run that an earlier version began, those that a checkpoint names. */
function settingsOf(folder: string, notes: string[]): JsonObject | undefined {
  const path = join(folder, SETTINGS_FILE);
  try {
    if (existsSync(path)) {
      const { settings } = readJsonObject(path);
      if (typeof settings === 'object' && settings !== null && !Array.isArray(settings)) return settings as JsonObject;
      throw new FileError(path, 'has no "settings"');
    }
    const [newest] = checkpoints(folder);
    if (newest === undefined) return undefined;
    const { fingerprint } = readJsonObject(join(newest, 'training.json'));
    if (typeof fingerprint !== 'object' || fingerprint === null) return undefined;
    return Object.fromEntries(Object.entries(fingerprint).map(([name, value]) => [name, valueOf(value)]));
  } catch (error) {
    notes.push(`its settings cannot be read: ${oneLine(error)}`);
    return undefined;
  }
}

/** A fingerprint has its values as texts. */
const valueOf = (value: unknown): unknown =>
  typeof value === 'string' && value.trim() !== '' && Number.isFinite(Number(value)) ? Number(value) : value;
