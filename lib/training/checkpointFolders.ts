/** The names of a run's checkpoint folders, which a diagnosis needs without TensorFlow. */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const NAME = /^checkpoint-(\d{8})$/;

/** The folder of a run's checkpoint after step `step`. */
export function checkpointFolder(run: string, step: number): string {
  return join(run, `checkpoint-${`${step}`.padStart(8, '0')}`);
}

/** A run's checkpoints, newest first. The leftovers of a killed save have other names and do not count. */
export function checkpoints(run: string): string[] {
  if (!existsSync(run)) return [];
  return readdirSync(run)
    .filter((name) => NAME.test(name))
    .sort()
    .reverse()
    .map((name) => join(run, name));
}

/** Removes all but the newest `keep` checkpoints, and the leftovers of killed saves. */
export function pruneCheckpoints(run: string, keep: number): void {
  for (const folder of checkpoints(run).slice(keep)) rmSync(folder, { recursive: true });
  for (const name of readdirSync(run))
    if (/^(checkpoint-\d{8}|best(-\d{8})?|model|run-settings\.json)\.\d+\.(tmp|old)$/.test(name))
      rmSync(join(run, name), { recursive: true });
}
