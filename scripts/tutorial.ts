/** `npm run tutorial`: executes the walkthrough notebooks, compares what they print, and ends with a table. */
import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';

import { progressPrinter } from 'alignbook/dist/hub/progress';
// Not by way of the package's index, which loads TensorFlow: it computes in the kernels only.
import { gpt2Files } from 'alignbook/dist/model/folder';

import { script, UsageError } from './command';
import { executionOf, executionSettings, type Execution } from './notebooks/arguments';
import { executedCopy, executeNotebooks, isWalkthrough, type Report } from './notebooks/execute';
import { checkNotebook, readExpected, type Result } from './notebooks/expected';
import { sourceCells } from './notebooks/rules';
import { sourceRanges, table } from './notebooks/table';
import { root } from './paths';

/** Where the walkthrough ends, and the rest begins. */
const next = 'notebooks/06-train-dpo.ipynb';

interface Options extends Execution {
  readonly notebooks: readonly string[];
}

function chosen(names: readonly string[]): string[] {
  const all = readdirSync(join(root, 'notebooks'))
    .filter((name) => /^\d\d-.*\.ipynb$/.test(name))
    .sort();
  const wanted =
    names.length === 0
      ? all.filter(isWalkthrough)
      : names.map((name) => {
          const found = all.filter((file) => [file, file.slice(0, -'.ipynb'.length), file.slice(0, 2)].includes(name));
          if (found.length === 0) throw new UsageError(`there is no notebook "${name}"; there are ${all.join(', ')}`);
          return found[0]!;
        });
  if (wanted.length === 0) throw new Error('notebooks/ holds no walkthrough notebook');
  return [...new Set(wanted)].map((name) => join(root, 'notebooks', name));
}

async function main({ notebooks, model, jobs, timeout }: Options): Promise<number> {
  const out = join(root, 'executed');
  const start = performance.now();
  console.log(`model: ${model}\n`);
  // a cell has no time for it, nor shows how far it is
  await gpt2Files(model, { onProgress: progressPrinter(process.stderr) });
  const { exitCode, reports } = await executeNotebooks(notebooks, {
    out,
    jobs,
    timeout,
    html: true,
    model,
    progress: true,
  });
  if (exitCode > 1) return exitCode;

  const results = reports
    .filter((report) => !report.refused)
    .map((report) => {
      const expected = readExpected(join(root, 'tests', 'expected', report.notebook.replace(/\.ipynb$/, '.json')));
      return checkNotebook(executedCopy(out, report.notebook), expected, model);
    });
  const problems = results.flatMap((result) => result.problems);
  if (problems.length > 0) console.log(`\n${problems.join('\n')}`);

  console.log(`\n${summary(reports, results, (performance.now() - start) / 1000)}`);
  const notCompared = results.flatMap((result) => result.notCompared.map((id) => `${result.notebook} ${id}`));
  if (notCompared.length > 0)
    console.log(`\nnot compared, as there is no expected text for the model "${model}": ${notCompared.join(', ')}`);
  const folder = relative(process.cwd(), out) || '.';
  const [first] = reports.filter((report) => !report.refused);
  console.log(`\nexecuted notebooks and their HTML pages: ${folder}/`);
  if (first)
    console.log(
      `read     ${join(folder, first.notebook.replace(/\.ipynb$/, '.html'))}, in a browser\nrun      npm run ` +
        `lab: the same notebooks in JupyterLab; then ${next}, where a model is trained`,
    );
  return exitCode || (problems.length > 0 ? 1 : 0);
}

/** One row a notebook. A refused run compares nothing and says so. */
function summary(reports: readonly Report[], results: readonly Result[], seconds: number): string {
  const rows = reports.map((report) => {
    const result = results.find(({ notebook }) => notebook === report.notebook);
    if (!result) return [report.notebook, '', '', '', report.seconds.toFixed(1), 'refused'];
    const { sources, cellsCompared, notCompared, numbersCompared, problems } = result;
    const outcome =
      problems.length > 0
        ? `${problems.length} wrong`
        : notCompared.length > 0
          ? `${notCompared.length} not compared`
          : 'ok';
    return [
      report.notebook,
      sourceRanges(sources),
      `${cellsCompared}`,
      `${numbersCompared}`,
      report.seconds.toFixed(1),
      outcome,
    ];
  });
  const sum = (value: (result: Result) => number) => `${results.reduce((total, result) => total + value(result), 0)}`;
  const total = [
    '',
    `${sum((result) => result.sources.length)} of ${sourceCells.length}`,
    sum((result) => result.cellsCompared),
    sum((result) => result.numbersCompared),
    seconds.toFixed(1),
    '',
  ];
  return table(
    ['notebook', 'source cells mirrored', 'cells compared', 'values compared', 'seconds', 'outcome'],
    rows,
    total,
  );
}

void script({
  name: 'tutorial',
  summary: 'Execute the walkthrough notebooks, and compare what they print with tests/expected/.',
  named: { as: 'NOTEBOOK', help: 'By number or name, such as 03 or 03-logprobs (default: 01 to 05).' },
  settings: executionSettings,
  status: '0 all values match, 1 a value differs or a run was refused, 2 usage, 130 interrupted',
  run: (values, named) => main({ notebooks: chosen(named), ...executionOf(values) }),
});
