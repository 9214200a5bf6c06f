/** A diagnosis in words, and a table that compares several runs. */
import { plural } from '../errors';
import { average } from '../moments';
import { largest } from '../ranges';
import type { Diagnosis } from './diagnosis';
import { median, short } from './diagnosisRule';
import type { RunRecord } from './runRecord';

const WIDTH = 80;

const METHOD_NAMES = {
  sft: 'SFT',
  dpo: 'DPO',
  kto: 'KTO',
  reward: 'reward model',
  ppo: 'PPO',
  grpo: 'GRPO',
  'online-dpo': 'online DPO',
} as const;

/**
 * The lines of a diagnosis, of at most 80 columns (a longer name of the run aside).
 *
 * @param name a name for the run, such as its folder.
 * @param notes sentences to add, such as on what was missing in its files.
 */
export function* diagnosisLines(
  { method, steps, findings, fine, unchecked }: Diagnosis,
  name = '',
  notes: readonly string[] = [],
): Generator<string> {
  const found = findings.length === 0 ? 'nothing unusual' : plural(findings.length, 'finding');
  yield `${name === '' ? '' : `${name}: `}${METHOD_NAMES[method]}, ${plural(steps, 'step')}: ${found}`;
  for (const { rule, says, advice } of findings) {
    yield* wrapped(`${rule}: ${says}`, '  ');
    yield* wrapped(`try: ${advice}`, '    ');
  }
  for (const note of notes) yield* wrapped(`note: ${note}`, '  ');
  yield* wrapped(`fine: ${fine.length === 0 ? 'none of the rules' : fine.join(', ')}`, '  ');
  const reasons = [...new Set(unchecked.map(({ reason }) => reason))].map((reason) => {
    const rules = unchecked.filter((one) => one.reason === reason).map(({ rule }) => rule);
    return `${rules.join(', ')} (${reason})`;
  });
  if (reasons.length > 0) yield* wrapped(`not checked: ${reasons.join('; ')}`, '  ');
}

function* wrapped(text: string, indent: string): Generator<string> {
  let line = indent;
  for (const word of text.split(' ')) {
    if (line.length + word.length + 1 > WIDTH && line.trim() !== '') {
      yield line;
      line = `${indent}  `;
    }
    line += line.trim() === '' ? word : ` ${word}`;
  }
  yield line;
}

/** A run in a comparison. */
export interface NamedRun {
  readonly name: string;
  readonly record: RunRecord;
}

const decimals = (digits: number) => (value: number) => value.toFixed(digits);
/** Column titles with the value of each run: means over the last tenth of its steps. */
const COLUMNS: readonly (readonly [
  title: string,
  value: (run: RunRecord) => number,
  text: (value: number) => string,
])[] = [
  ['steps', (run) => run.steps.at(-1)!, String],
  ['loss', (run) => run.last('loss'), (loss) => (Math.abs(loss) < 0.001 ? loss.toExponential(0) : loss.toFixed(3))],
  ['acc.', (run) => run.last('accuracy'), decimals(2)],
  ['margin', (run) => run.last('margin'), short],
  ['score', (run) => run.last('score'), decimals(2)],
  ['KL', (run) => run.last('kl'), decimals(2)],
  ['length', lengthOf, decimals(1)],
  ['s/step', (run) => median(run.column('seconds')), short],
];

/** The mean length in tokens: of a rollout's answers or, without rollouts, of the last sampled ones; else NaN. */
function lengthOf(run: RunRecord): number {
  if (run.samples !== undefined) return run.last('tokens') / run.samples;
  return average(run.answers.of('tokens').at(-1)?.values ?? []);
}

/** One line per run below a line of titles, at most 80 columns wide; a column without a value is left out. */
export function comparisonLines(runs: readonly NamedRun[]): string[] {
  const cells = COLUMNS.map(([title, valueOf, text]) => {
    const values = runs.map(({ record }) => valueOf(record));
    return [title, ...values.map((value) => (Number.isFinite(value) ? text(value) : '-'))];
  }).filter(([, ...values]) => values.some((value) => value !== '-'));
  const methods = ['method', ...runs.map(({ record }) => record.method!)];
  const right = [methods, ...cells].map((column) => ({ column, width: largest(column.map(({ length }) => length)) }));
  const used = right.reduce((sum, { width }) => sum + 2 + width, 0);
  const longest = largest(['run', ...runs.map(({ name }) => name)].map(({ length }) => length));
  const room = Math.max(8, Math.min(longest, WIDTH - used));
  const names = ['run', ...runs.map(({ name }) => (name.length <= room ? name : `…${name.slice(1 - room)}`))];
  return names.map(
    (name, n) => name.padEnd(room) + right.map(({ column, width }) => `  ${column[n]!.padStart(width)}`).join(''),
  );
}
