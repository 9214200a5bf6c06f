/** `npm run notebook`: executes any notebooks, and says of each whether its run was clean. */
import { existsSync, realpathSync, statSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { parseArgs } from 'node:util';

// Not by way of the package's index, which loads TensorFlow: it computes in the kernels only.
import { progressPrinter } from 'alignbook/dist/hub/progress';
import { gpt2Files } from 'alignbook/dist/model/folder';

import { command } from './command';
import { argumentsOf, fromCaller, OPTIONS, USAGE, type Arguments } from './notebooks/arguments';
import { executeNotebooks } from './notebooks/execute';
import { root } from './paths';

const usage = `Usage: npm run notebook -- FILE… [--model M] [--jobs N] [--timeout S] [--out DIR]

Executes your own notebooks, each on its own kernel in its own folder, and
refuses every run that is not clean: a cell that throws, does not compile, is
skipped by a tag or takes too long; anything on stderr, a promise that nobody
awaits, a timer that never ends. The executed copies, their HTML pages and the
reports go to one folder; the notebooks themselves do not change.

${USAGE}
  --out DIR      folder for the results (default: executed/ in the project)

Exit status: 0 every run was clean, 1 some were refused, 2 usage, 130 interrupted.`;

interface Options extends Arguments {
  readonly notebooks: readonly string[];
  readonly out: string;
}

function parse(): Options | null {
  const { values, positionals } = parseArgs({
    options: { ...OPTIONS, out: { type: 'string' } },
    allowPositionals: true,
  });
  if (values.help) return null;
  if (positionals.length === 0) throw new Error('no notebook is named');
  const notebooks = [...new Set(positionals.map(fromCaller))];
  const out = values.out === undefined ? join(root, 'executed') : fromCaller(values.out);
  for (const path of notebooks) {
    if (!statSync(path, { throwIfNoEntry: false })?.isFile())
      throw new Error(`${path} does not exist, or is not a file`);
    if (!path.endsWith('.ipynb')) throw new Error(`${path} is not a notebook: its name does not end with .ipynb`);
    if (realpathSync(path) === realpathOf(join(out, basename(path))))
      throw new Error(
        `${out} is the folder of ${basename(path)} itself, whose executed copy would replace it: give --out ` +
          'another folder',
      );
    const other = notebooks.find((each) => each !== path && basename(each) === basename(path));
    if (other !== undefined)
      throw new Error(
        `${path} and ${other} have one name, and so would their results: run them one after the other, with an ` +
          '--out for each',
      );
  }
  return { notebooks, out, ...argumentsOf(values) };
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

void command(usage, parse, main);
