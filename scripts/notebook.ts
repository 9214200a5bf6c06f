/** `npm run notebook`: executes any notebooks, and says of each whether its run was clean. */
import { existsSync, realpathSync, statSync } from 'node:fs';
import { basename, join, relative } from 'node:path';

// Not by way of the package's index, which loads TensorFlow: it computes in the kernels only.
import { progressPrinter } from 'alignbook/dist/hub/progress';
import { gpt2Files } from 'alignbook/dist/model/folder';
import { path, type OptionsOf } from 'alignbook/dist/training/declare';

import { script, UsageError } from './command';
import { executionOf, executionSettings, type Execution } from './notebooks/arguments';
import { executeNotebooks } from './notebooks/execute';
import { fromCaller, root } from './paths';

const settings = {
  ...executionSettings,
  out: path({ value: 'folder', otherwise: 'executed/ in the project', help: 'Write the results to this folder.' }),
} as const;

interface Options extends Execution {
  readonly notebooks: readonly string[];
  readonly out: string;
}

/** @throws UsageError if the notebooks cannot be executed into that folder. */
function optionsFrom(values: OptionsOf<typeof settings>, named: readonly string[]): Options {
  if (named.length === 0) throw new UsageError('no notebook is named; give at least one');
  const notebooks = [...new Set(named.map(fromCaller))];
  const out = values.out === undefined ? join(root, 'executed') : fromCaller(values.out);
  for (const notebook of notebooks) {
    if (!statSync(notebook, { throwIfNoEntry: false })?.isFile())
      throw new UsageError(`${notebook} does not exist, or is not a file`);
    if (!notebook.endsWith('.ipynb'))
      throw new UsageError(`${notebook} is not a notebook: its name does not end with .ipynb`);
    if (realpathSync(notebook) === realpathOf(join(out, basename(notebook))))
      throw new UsageError(
        `${out} is the folder of ${basename(notebook)} itself, whose executed copy would replace it: give --out ` +
          'another folder',
      );
    const other = notebooks.find((each) => each !== notebook && basename(each) === basename(notebook));
    if (other !== undefined)
      throw new UsageError(
        `${notebook} and ${other} have one name, and so would their results: run them one after the other, with an ` +
          '--out for each',
      );
  }
  return { notebooks, out, ...executionOf(values) };
}

const realpathOf = (path: string): string | undefined => (existsSync(path) ? realpathSync(path) : undefined);

async function main({ notebooks, out, model, jobs, timeout }: Options): Promise<void> {
  // a cell has no time for it, nor shows how far it is
  await gpt2Files(model, { onProgress: progressPrinter(process.stderr) });
  const { exitCode } = await executeNotebooks(notebooks, { out, jobs, timeout, html: true, model, progress: true });
  process.exitCode = exitCode;
  if (exitCode <= 1)
    console.log(`\nreports, and of what ran executed copies and HTML pages: ${relative(process.cwd(), out) || '.'}/`);
}

void script({
  name: 'notebook',
  summary:
    'Execute your own notebooks, each on its own kernel in its own folder, and refuse every run that is not clean: a ' +
    'cell that throws, does not compile, is skipped by a tag or takes too long; anything on stderr, a promise that ' +
    'nobody awaits, a timer that never ends. The executed copies, their HTML pages and the reports go to one folder; ' +
    'the notebooks themselves do not change.',
  named: { as: 'FILE', help: 'The notebooks.' },
  settings,
  status: '0 every run was clean, 1 some were refused, 2 usage, 130 interrupted',
  run: (values, named) => main(optionsFrom(values, named)),
});
