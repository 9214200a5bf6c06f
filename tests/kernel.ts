/** A kernel as JupyterLab uses it: see kernel.py. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

import { root } from '../scripts/paths';

/** A cell, as a reader sees it. */
export interface Seen {
  status: string;
  count: number;
  stdout: string;
  stderr: string;
  errors: { ename: string; evalue: string; traceback: string[] }[];
  displays: Record<string, string>[];
  /** The mime types of each display and of each update of one. */
  drawn: string[][];
  kinds: string[];
  late: [string, object][];
  /** The value of the cell's last line, with the cell's number. */
  result: [count: number, data: Record<string, string>] | null;
}

/** The content of the reply to any other request. */
export type Reply = Record<string, unknown>;

/** Sends requests, in the form of kernel.py, to one kernel. */
export function kernel(
  requests: readonly (object | readonly object[])[],
  ...options: string[]
): { cells: (Seen & Reply)[]; alive: boolean } {
  const python = join(root, '.alignbook', 'python', 'bin', 'python');
  const { stdout, stderr, status } = spawnSync(
    python,
    [join(root, 'tests', 'kernel.py'), JSON.stringify(requests), ...options],
    { encoding: 'utf8', maxBuffer: 2 ** 28 },
  );
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as { cells: (Seen & Reply)[]; alive: boolean };
}
