/** `npm run notebooks:refresh [-- FILE…]`: executes notebooks and writes their outputs back in the committed form. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

import { root } from '../paths';
import { executedCopy, executeNotebooks, notebookNames } from './execute';
import { committedForm } from './notebook';

async function refresh(paths: readonly string[]): Promise<number> {
  const out = mkdtempSync(join(tmpdir(), 'notebooks-'));
  try {
    // The committed outputs are those of the embedded model.
    const { exitCode, reports } = await executeNotebooks(paths, {
      out,
      jobs: 2,
      timeout: 300,
      model: 'tiny',
      progress: true,
    });
    if (exitCode > 1) return exitCode;
    for (const { notebook } of reports.filter((report) => !report.refused)) {
      const path = paths.find((candidate) => candidate.endsWith(`/${notebook}`))!;
      writeFileSync(`${path}.new`, committedForm(executedCopy(out, notebook)), { flush: true });
      renameSync(`${path}.new`, path);
    }
    return exitCode;
  } finally {
    rmSync(out, { recursive: true });
  }
}

const all = () => notebookNames().map((name) => join(root, 'notebooks', name));
const named = process.argv.slice(2).map((path) => resolve(process.env['INIT_CWD'] ?? '.', path));
refresh(named.length > 0 ? named : all()).then(
  (exitCode) => (process.exitCode = exitCode),
  (error: Error) => {
    console.error(error.message);
    process.exitCode = 1;
  },
);
