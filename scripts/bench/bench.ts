/**
 * `npm run bench`: compares this library with transformers and TRL on the same work, in one run. Needs the oracles.
 *
 * Each contender is a separate process that waits for a line before each repetition, so that the contenders take turns
 * and a disturbance of the machine affects all of them. Their results are compared, too: a fast wrong answer wins
 * nothing.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';

import { whole } from 'alignbook/dist/ranges';
import { flag, number, path, type OptionsOf } from 'alignbook/dist/training/declare';

import { script, UsageError } from '../command';
import { oraclePython, root } from '../paths';
import { cases, type Case, type Policy, type Rival, type Task } from './cases';
import { inputsOf, smaller } from './inputs';
import { hasBfloat16, headline, machine, readingSpeed, writeResults } from './machine';
import { median, minimum, near, Worker, type Answer, type Command } from './worker';

const folder = join(root, '.alignbook', 'bench');

interface Contender extends Command {
  readonly name: string;
  readonly policy: Policy;
  readonly isOurs: boolean;
}

const PYTHON_ENV = { PYTHONWARNINGS: 'ignore', TRANSFORMERS_VERBOSITY: 'error', TQDM_DISABLE: '1' };

/** Another checkout of this project as the only rival, or the rivals of the case. */
function contendersOf({ ours, rivals }: Case, policy: Policy, against?: string): Contender[] {
  const commandOf = ([script, ...rest]: Rival['script']): Command['command'] =>
    script.endsWith('.py')
      ? [oraclePython, join(root, 'scripts', 'bench', script), ...rest]
      : [process.execPath, join(__dirname, script), ...rest];
  const own: Contender = {
    name: 'ours',
    policy,
    command: commandOf(ours),
    env: { ALIGNBOOK_COMPUTE: policy },
    isOurs: true,
  };
  if (against !== undefined) {
    const [node, script, ...rest] = own.command;
    return [
      {
        ...own,
        name: 'the other checkout',
        command: [node, builtIn(against, basename(script)), ...rest],
        isOurs: false,
      },
      own,
    ];
  }
  return [
    ...rivals.map(({ name, script, env, packages, fp32Only }): Contender => ({
      name,
      policy: fp32Only ? 'fp32' : policy,
      command: commandOf(script),
      env: {
        ...PYTHON_ENV,
        ALIGNBOOK_COMPUTE: policy,
        ...env,
        ...(packages && { PYTHONPATH: join(root, '.alignbook', packages) }),
      },
      isOurs: false,
    })),
    own,
  ];
}

/** A built script of this folder in another checkout. */
const builtIn = (checkout: string, script: string): string =>
  join(checkout, '.alignbook', 'build', 'scripts', 'bench', script);

interface Row {
  readonly case: string;
  readonly contender: string;
  readonly isOurs: boolean;
  readonly policy: Policy;
  readonly seconds: readonly number[];
  readonly peakMegabytes: number;
}

async function measure(
  chosen: Case,
  policy: Policy,
  task: Omit<Task, 'policy'>,
  { repetitions, against }: Settings,
): Promise<{ rows: Row[]; differ: string[]; equal: boolean }> {
  const contenders = contendersOf(chosen, policy, against);
  const workers = contenders.map((contender) => new Worker(contender, { ...task, policy: contender.policy }));
  try {
    for (const worker of workers) await worker.answer(); // ready and warm
    const answers: Answer[][] = contenders.map(() => []);
    for (let repetition = 0; repetition < repetitions; repetition += 1) {
      const order = [...workers.entries()];
      if (repetition % 2 === 1) order.reverse(); // so that none always follows the same
      for (const [n, worker] of order) answers[n]!.push(await worker.repeat());
    }
    const rows = contenders.map(({ name, isOurs, policy: own }, n): Row => ({
      case: chosen.name,
      contender: name,
      isOurs,
      policy: own,
      seconds: answers[n]!.map(({ seconds }) => seconds),
      peakMegabytes: workers[n]!.peak(),
    }));
    const results = (n: number) => answers[n]!.map(({ result }) => result);
    const own = contenders.findIndex(({ isOurs }) => isOurs);
    const exact = policy === 'fp32' ? contenders.flatMap(({ isOurs }, n) => (isOurs ? [] : [n])) : []; // bf16 rounds
    return {
      rows,
      equal: contenders.every((_, n) => near(results(n), results(own), 0)),
      differ: exact
        .filter((n) => !near(results(n), results(own), chosen.tolerance ?? 0))
        .map((n) => `${contenders[n]!.name} ${JSON.stringify(results(n))}, ours ${JSON.stringify(results(own))}`),
    };
  } finally {
    workers.forEach((worker) => worker.end());
  }
}

function print(rows: readonly Row[], policy: Policy, { amount }: Case): void {
  const own = rows.find(({ isOurs }) => isOurs)!;
  for (const { contender, isOurs, policy: its, seconds, peakMegabytes, case: name } of rows) {
    const times = (of: typeof minimum) => `${(of(seconds) / of(own.seconds)).toFixed(2)}x`;
    const ratios = isOurs
      ? []
      : [`${times(minimum)} (${times(median)})`, `${(own.peakMegabytes / peakMegabytes).toFixed(2)}x`];
    const columns = [minimum(seconds).toFixed(3), median(seconds).toFixed(3), peakMegabytes.toFixed(0), ...ratios];
    console.log(
      [
        `${name}, ${policy}`.padEnd(32),
        `${contender}${its === policy ? '' : ` ${its}`}`.padEnd(22),
        ...columns.map((column, n) => column.padStart(WIDTHS[n]!)),
        ...(amount && (amount.unit === 'GFLOP' || its === 'fp32')
          ? [`${' '.repeat(isOurs ? 25 : 1)}${rate(amount, minimum(seconds))}`]
          : []),
      ].join(' '),
    );
  }
}

const rate = ({ of, unit }: NonNullable<Case['amount']>, seconds: number) =>
  `${(of / 1e9 / seconds).toFixed(0)} ${unit}/s`;

/** The widths of the columns, in characters. */
const WIDTHS = [8, 8, 8, 15, 8];

/** A model folder, made once and saved by transformers, so that both read the same file. */
async function modelFolder(quick: boolean): Promise<string> {
  const path = join(folder, quick ? 'small' : 'gpt2');
  if (!existsSync(join(path, 'config.json')))
    await python('theirs.py', ['--make', path, ...(quick ? ['--small'] : [])]);
  return path;
}

/** The same model in the form that transformers.js opens. */
async function onnxFolder(model: string): Promise<string> {
  const path = join(folder, 'onnx', basename(model));
  if (!existsSync(path)) await python('export_onnx.py', [model, path]);
  return path;
}

async function python(script: string, args: readonly string[]): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const child = spawn(oraclePython, [join(root, 'scripts', 'bench', script), ...args], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, ...PYTHON_ENV },
  });
  const status = await new Promise((done) => child.on('close', done));
  if (status !== 0) throw new Error(`${script} failed; its message is above`);
}

/** How this checkout compares with another, repetition by repetition. */
function printPairs([other, own]: readonly Row[], equal: boolean): void {
  const ratios = own!.seconds.map((seconds, n) => seconds / other!.seconds[n]!).sort((a, b) => a - b);
  const at = (fraction: number): string => ratios[Math.round(fraction * (ratios.length - 1))]!.toFixed(3);
  console.log(
    `  ours / the other, in ${ratios.length} pairs: median ${median(ratios).toFixed(3)}, quartiles ${at(0.25)} and ` +
      `${at(0.75)}, ${at(0)} to ${at(1)}; peak memory ${(own!.peakMegabytes / other!.peakMegabytes).toFixed(3)}; ` +
      `results ${equal ? '' : 'not '}equal to the bit`,
  );
}

async function main(given: Settings): Promise<number> {
  const { names, quick, keep, against } = given;
  const chosen = cases.filter(({ name, onlySize }) =>
    names.length === 0 ? !(quick && onlySize) : names.some((beginning) => name.startsWith(beginning)),
  );
  const random = await modelFolder(quick);
  const here = machine(['torch', 'transformers', 'trl']);
  console.log(`${headline(here)}\n`);
  const heads = ['min s', 'median s', 'peak MB', 'time / ours', 'our MB'];
  console.log(`${''.padEnd(55)} ${heads.map((head, n) => head.padStart(WIDTHS[n]!)).join(' ')}`);
  if (!quick && chosen.some(({ amount }) => amount?.unit === 'GB'))
    console.log(`(memory is read at up to ${(readingSpeed() / 1e9).toFixed(0)} GB/s here)`);
  const bf16 = hasBfloat16(here);
  if (!bf16 && !quick)
    console.log('(bf16 is left out: this processor has neither AVX512_BF16 nor AMX, and would emulate it)');
  const results: Record<string, { rows: Row[] }> = {};
  let agree = true;
  for (const one of chosen) {
    const sized: Case = quick ? smaller(one) : one;
    const model = sized.tiny ? join(root, 'data', 'models', 'tiny') : random;
    const inputs = {
      ...(await inputsOf(sized, model)),
      ...sized.work,
      ...(sized.rivals.some(({ onnx }) => onnx) && { onnx: await onnxFolder(model) }),
    };
    for (const policy of sized.policies.filter((some) => some === 'fp32' || quick || bf16)) {
      const { rows, differ, equal } = await measure(sized, policy, inputs, given);
      print(rows, policy, sized);
      if (against !== undefined) printPairs(rows, equal);
      for (const difference of differ)
        console.log(`${one.name}: the contenders in fp32 computed different things: ${difference.slice(0, 2000)}`);
      agree &&= differ.length === 0;
      results[`${one.name}, ${policy}`] = { rows };
    }
    // After each case, because they take long.
    if (against === undefined) writeResults('bench', here, results, { keep });
  }
  return agree ? 0 : 1;
}

interface Settings {
  /** Names of cases, or their beginnings; if there are none, all cases. */
  readonly names: readonly string[];
  readonly quick: boolean;
  readonly repetitions: number;
  readonly keep: boolean;
  /** The folder of another checkout, which is then the only rival. */
  readonly against?: string | undefined;
}

const settings = {
  repetitions: number(whole(1), { default: 7, help: 'Run each contender N times.' }),
  keep: flag({ help: 'Write the results to data/bench, where notebook 12 finds them, instead of to executed/.' }),
  against: path({
    value: 'FOLDER',
    help: 'Compare with the built checkout in FOLDER instead, to see what a change costs or gains.',
  }),
  quick: flag({ help: 'Run everything once on a small model, and time nothing.' }),
} as const;

/** @throws UsageError if a name begins no case's, or two options do not go together. */
function settingsFrom(
  { quick = false, repetitions = quick ? 1 : 7, keep = false, against }: OptionsOf<typeof settings>,
  names: readonly string[],
): Settings {
  const unknown = names.find((beginning) => !cases.some(({ name }) => name.startsWith(beginning)));
  if (unknown !== undefined)
    throw new UsageError(`there is no case "${unknown}"; there are: ${cases.map(({ name }) => name).join('; ')}`);
  if (quick && keep) throw new UsageError('--quick times nothing, so there is nothing to keep; leave one of them out');
  if (against !== undefined && keep)
    throw new UsageError('--against compares two checkouts, which notebook 12 does not draw; leave out --keep');
  if (against !== undefined && !existsSync(builtIn(against, 'ours.js')))
    throw new UsageError(`${against} holds no built checkout with benchmarks; run npm run build there`);
  return { names, quick, repetitions, keep, against };
}

void script({
  name: 'bench',
  summary:
    "Time this library and Python's libraries in turns, one precision after the other. Prints the minimum, the " +
    'median and the peak memory of each; for each rival also how many times as long it took as this library (in ' +
    "brackets: by the medians), and this library's memory as a fraction of its.",
  named: { as: 'CASE', help: "A case's name or its beginning, such as generate (default: all)." },
  settings,
  notes:
    'The model is a GPT-2 with 124M random parameters, or tiny; pairs and questions are those of data/preferences, ' +
    'or random ids.',
  status: '0 done, 1 contenders computed different things or failed, 2 usage',
  run: (values, names) => main(settingsFrom(values, names)),
});
