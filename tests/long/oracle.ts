/** Runs one of tests/oracles' scripts with the Python that has PyTorch and transformers. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

import { oraclePython, root } from '../../scripts/paths';

/** @throws Error with what the script wrote on stderr, if it fails. */
export function oracle(script: string, ...args: readonly string[]): void {
  const { status, error, stderr } = spawnSync(oraclePython, [join(root, 'tests', 'oracles', script), ...args], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`${script} ended with ${status}: ${error?.message ?? stderr}`);
}
