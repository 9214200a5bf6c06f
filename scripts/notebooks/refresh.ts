/** `npm run notebooks:refresh [-- FILE…]`: executes notebooks and writes their outputs back in the committed form. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { script } from '../command';
import { fromCaller, root } from '../paths';
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

void script({
  name: 'notebooks:refresh',
  summary: 'Execute notebooks on the embedded model, and write their outputs back in the committed form.',
  named: { as: 'FILE', help: 'The notebooks (default: all of notebooks/).' },
  settings: {},
  status: '0 every run was clean, 1 some were refused, 2 usage, 130 interrupted',
  run: (_, named) => refresh(named.length > 0 ? named.map(fromCaller) : all()),
});
