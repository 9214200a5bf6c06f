/** A results file: one JSON line for each finished run, by method, setting and seed. */
import { existsSync, readFileSync } from 'node:fs';

import { FileError } from 'alignbook';
import { replaceFile } from 'alignbook/dist/formats/replace';
import { withLock } from 'alignbook/dist/processes';

import type { Point, Setting } from './method';

export interface Result {
  readonly method: string;
  readonly setting: Setting;
  readonly seed: number;
  /** Identifies everything that the result depends on. */
  readonly fingerprint: string;
  readonly seconds: number;
  readonly points: readonly Point[];
}

/** @throws FileError naming a line that is not JSON. */
export function readResults<R extends Run = Result>(path: string): R[] {
  if (!existsSync(path)) return [];
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line, n) => {
      try {
        return JSON.parse(line) as R;
      } catch (cause) {
        throw new FileError(path, `line ${n + 1} is not JSON; remove the line to repeat its run`, { cause });
      }
    });
}

type Run = Pick<Result, 'method' | 'setting' | 'seed'>;

const curve = ({ method, setting }: Run): string => `${method} ${JSON.stringify(setting)}`;
const inOrder = (one: Run, other: Run): number =>
  curve(one) < curve(other) ? -1 : curve(one) > curve(other) ? 1 : one.seed - other.seed;

/** Whether two results have the same curve and seed, whatever constants they were made with. */
export const sameRun = (one: Run, other: Run): boolean => inOrder(one, other) === 0;

/** Replaces an older result of the same run. Other processes may add theirs at the same time. */
export async function addResult<R extends Run = Result>(path: string, result: R): Promise<void> {
  await withLock(
    `${path}.lock`,
    async () => {
      const others = readResults<R>(path).filter((other) => !sameRun(other, result));
      replaceFile(path, (append) => {
        for (const line of [...others, result].sort(inOrder)) append(`${JSON.stringify(line)}\n`);
      });
    },
    (pid) => console.error(`waiting for process ${pid}, which adds a result`),
  );
}
