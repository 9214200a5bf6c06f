/** `npm run tutorial`: executes the walkthrough notebooks, compares what they print, and ends with a table. */
import { readdirSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';

// Not by way of the package's index, which loads TensorFlow: it computes in the kernels only.
import { gpt2Folder } from 'alignbook/dist/model/folder';
import { progressPrinter } from 'alignbook/dist/hub/progress';

import { executedCopy, executeNotebooks, isWalkthrough, root, type Report } from './notebooks/execute';
import { checkNotebook, readExpected, type Result } from './notebooks/expected';
import { sourceCells } from './notebooks/rules';
import { sourceRanges, table } from './notebooks/table';

const usage = `Usage: npm run tutorial -- [NOTEBOOK…] [--model M] [--jobs N] [--timeout S]

Executes the walkthrough notebooks and compares what they print with tests/expected/.

  NOTEBOOK       by number or name, such as 03 or 03-logprobs (default: 01 to 05)
  --model M      tiny, a name on the Hugging Face hub such as gpt2, or a folder with config.json and model.safetensors
                 (default: MODEL, else tiny)
  --jobs N       notebooks at a time (default: 2, or 1 on a single core)
  --timeout S    seconds that one cell may take (default: 120)

Exit status: 0 all values match, 1 a value differs or a run was refused, 2 usage, 130 interrupted.`;

/** Where the walkthrough ends, and the rest begins. */
const next = 'notebooks/06-train-dpo.ipynb';

class UsageError extends Error {}

interface Options {
  readonly notebooks: readonly string[];
  readonly model: string;
  readonly jobs: number;
  readonly timeout: number;
}

function parse(argv: string[]): Options | 'help' {
  const options = {
    help: { type: 'boolean', short: 'h' },
    model: { type: 'string' },
    jobs: { type: 'string' },
    timeout: { type: 'string' },
  } as const;
  try {
    const { values, positionals } = parseArgs({ args: argv, options, allowPositionals: true });
    if (values.help) return 'help';
    return {
      notebooks: chosen(positionals),
      model: modelName(values.model ?? process.env['MODEL'] ?? 'tiny'),
      jobs: positive('--jobs', values.jobs ?? `${Math.min(2, availableParallelism())}`),
      timeout: positive('--timeout', values.timeout ?? '120'),
    };
  } catch (error) {
    throw error instanceof UsageError ? error : new UsageError((error as Error).message, { cause: error });
  }
}

function positive(option: string, text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new UsageError(`${option} takes a whole number above 0, not "${text}"`);
  return Number(text);
}

/** A folder is given relative to where the command runs; the kernels run in notebooks/. */
function modelName(model: string): string {
  const folder = resolve(process.env['INIT_CWD'] ?? '.', model);
  return model !== 'tiny' && statSync(folder, { throwIfNoEntry: false })?.isDirectory() ? folder : model;
}

function chosen(names: readonly string[]): string[] {
  const all = readdirSync(join(root, 'notebooks')).filter((name) => /^\d\d-.*\.ipynb$/.test(name)).sort();
  const wanted = names.length === 0 ? all.filter(isWalkthrough) : names.map((name) => {
    const found = all.filter((file) => [file, file.slice(0, -'.ipynb'.length), file.slice(0, 2)].includes(name));
    if (found.length === 0) throw new UsageError(`no notebook "${name}"; there are ${all.join(', ')}`);
    return found[0]!;
  });
  if (wanted.length === 0) throw new UsageError('notebooks/ holds no walkthrough notebook');
  return [...new Set(wanted)].map((name) => join(root, 'notebooks', name));
}

async function main({ notebooks, model, jobs, timeout }: Options): Promise<number> {
  const out = join(root, 'executed');
  const start = performance.now();
  console.log(`model: ${model}\n`);
  await gpt2Folder(model, { onProgress: progressPrinter(process.stderr) }); // a cell has no time for it, nor shows how far it is
  const { exitCode, reports } = await executeNotebooks(notebooks, { out, jobs, timeout, html: true, model, progress: true });
  if (exitCode > 1) return exitCode;

  const results = reports.filter((report) => !report.refused).map((report) => {
    const expected = readExpected(join(root, 'tests', 'expected', report.notebook.replace(/\.ipynb$/, '.json')));
    return checkNotebook(executedCopy(out, report.notebook), expected, model);
  });
  const problems = results.flatMap((result) => result.problems);
  if (problems.length > 0) console.log(`\n${problems.join('\n')}`);

  console.log(`\n${summary(reports, results, (performance.now() - start) / 1000)}`);
  const notCompared = results.flatMap((result) => result.notCompared.map((id) => `${result.notebook} ${id}`));
  if (notCompared.length > 0) console.log(`\nnot compared, as there is no expected text for the model "${model}": ${notCompared.join(', ')}`);
  const folder = relative(process.cwd(), out) || '.';
  const [first] = reports.filter((report) => !report.refused);
  console.log(`\nexecuted notebooks and their HTML pages: ${folder}/`);
  if (first) console.log(`read     ${join(folder, first.notebook.replace(/\.ipynb$/, '.html'))}, in a browser\nrun      npm run lab: the same notebooks in JupyterLab; then ${next}, where a model is trained`);
  return exitCode || (problems.length > 0 ? 1 : 0);
}

/** One row a notebook. A refused run compares nothing and says so. */
function summary(reports: readonly Report[], results: readonly Result[], seconds: number): string {
  const rows = reports.map((report) => {
    const result = results.find(({ notebook }) => notebook === report.notebook);
    if (!result) return [report.notebook, '', '', '', report.seconds.toFixed(1), 'refused'];
    const { sources, cellsCompared, notCompared, numbersCompared, problems } = result;
    const outcome = problems.length > 0 ? `${problems.length} wrong` : notCompared.length > 0 ? `${notCompared.length} not compared` : 'ok';
    return [report.notebook, sourceRanges(sources), `${cellsCompared}`, `${numbersCompared}`, report.seconds.toFixed(1), outcome];
  });
  const sum = (value: (result: Result) => number) => `${results.reduce((total, result) => total + value(result), 0)}`;
  const total = ['', `${sum((result) => result.sources.length)} of ${sourceCells.length}`, sum((result) => result.cellsCompared), sum((result) => result.numbersCompared), seconds.toFixed(1), ''];
  return table(['notebook', 'source cells mirrored', 'cells compared', 'values compared', 'seconds', 'outcome'], rows, total);
}

async function run(): Promise<number> {
  try {
    const options = parse(process.argv.slice(2));
    if (options !== 'help') return await main(options);
    console.log(usage);
    return 0;
  } catch (error) {
    console.error((error as Error).message);
    if (!(error instanceof UsageError)) return 1;
    console.error(`\n${usage}`);
    return 2;
  }
}

void run().then((exitCode) => (process.exitCode = exitCode));
