/** `npm run notebooks:refresh [-- FILE…]`: executes notebooks and writes their outputs back in the committed form. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { script } from '../command';
import { fromCaller, root } from '../paths';
import { executedCopy, executeNotebooks, notebookNames } from './execute';
import { committedForm, readNotebook, type Notebook } from './notebook';
import { filled } from './repeats';

const folder = join(root, 'notebooks');

function write(path: string, notebook: Notebook): void {
  writeFileSync(`${path}.new`, committedForm(notebook), { flush: true });
  renameSync(`${path}.new`, path);
}

/** Fills the cells that repeat earlier notebooks. */
function fill(paths: readonly string[]): void {
  const notebooks = notebookNames().map((name) => readNotebook(join(folder, name)));
  for (const [n, notebook] of notebooks.entries()) {
    const path = join(folder, notebook.name);
    const now = filled(notebook, notebooks.slice(0, n));
    if (paths.includes(path) && repeatsDiffer(notebook, now)) write(path, now);
  }
}

const repeatsDiffer = (before: Notebook, now: Notebook): boolean =>
  now.cells.some(({ source }, n) => source !== before.cells[n]!.source);

async function refresh(paths: readonly string[]): Promise<number> {
  fill(paths);
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
      write(path, executedCopy(out, notebook));
    }
    return exitCode;
  } finally {
    rmSync(out, { recursive: true });
  }
}

const all = () => notebookNames().map((name) => join(folder, name));

void script({
  name: 'notebooks:refresh',
  summary: 'Execute notebooks on the embedded model, and write their outputs back in the committed form.',
  named: { as: 'FILE', help: 'The notebooks (default: all of notebooks/).' },
  settings: {},
  status: '0 every run was clean, 1 some were refused, 2 usage, 130 interrupted',
  run: (_, named) => refresh(named.length > 0 ? named.map(fromCaller) : all()),
});
