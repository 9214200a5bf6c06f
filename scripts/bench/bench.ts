/**
 * `npm run bench`: this library beside transformers and TRL on the same work, in one run. Needs the oracles.
 *
 * Each contender is a process of its own that waits for a line before each repetition, so that they take turns and share
 * whatever the machine does meanwhile. What they compute is compared, too: a fast wrong answer wins nothing.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { Random, readPairs, Tokenizer, type PairIds } from 'alignbook';

import { root } from '../notebooks/execute';
import { hasBfloat16, headline, machine, writeResults } from './machine';
import { near } from './near';
import { median, minimum, Worker, type Answer, type Command } from './worker';

const usage = `Usage: npm run bench -- [CASE…] [--quick] [--repetitions N] [--keep]

Times this library and Python's in turns, those of one precision at a time, and prints minimum, median and peak memory; for each
rival how many times as long it took as the library (in brackets: by the medians), and the library's share of its memory.

  CASE              a name, or the beginning of one, such as generate (default: all)
  --repetitions N   of each contender (default: 7)
  --keep            puts the results into data/bench, where notebooks/12-how-fast.ipynb finds them; else they go to executed/
  --quick           once each, on a small model: shows that everything runs, and times nothing
  --help

The model is a GPT-2 of 124M random parameters, the pairs are those of data/preferences.
Exit status: 0 done, 1 contenders computed different things or failed, 2 usage.`;

const folder = join(root, '.alignbook', 'bench');

type Policy = 'fp32' | 'bf16';

/** The work beside prompts and pairs, as a worker is told of it. */
interface Work {
  readonly newTokens?: number;
  /** Responses to each prompt. Default: 1. */
  readonly group?: number;
  /** In trainings: rows of a forward and backward pass; their gradients are added up. */
  readonly rowsAtOnce?: number;
  /** In PPO: updates on a rollout, all of its rows each. */
  readonly epochs?: number;
}

interface Rival {
  readonly name: string;
  /** A script of this folder, and what it is told beside the task: Python's, or this library's own. */
  readonly script: readonly [string, ...string[]];
  readonly env?: Readonly<Record<string, string>>;
  /** A folder of .alignbook with packages that Python is to find before those of the oracles. */
  readonly packages?: string;
  /** Where it computes in float32, whatever the others do. */
  readonly fp32Only?: boolean;
}

interface Case {
  readonly name: string;
  /** A script of this folder. */
  readonly ours: string;
  readonly rivals: readonly Rival[];
  readonly policies: readonly Policy[];
  /** Prompts of random ids, and their length. */
  readonly prompts?: readonly [count: number, length: number];
  /** Pairs of the training data, and the least length of their prompts, which are repeated up to it. */
  readonly pairs?: readonly [count: number, promptLength: number];
  readonly work: Work;
  /** Relative, between what contenders in fp32 compute. Default: 0, equality. */
  readonly tolerance?: number;
  /** Differs from another case in size only, which is nothing to --quick. */
  readonly onlySize?: boolean;
}

/** What a worker is told. */
export interface Task extends Work {
  readonly model: string;
  readonly policy: Policy;
  readonly prompts: readonly (readonly number[])[];
  /** Responses end with the end-of-sequence token. */
  readonly pairs: readonly PairIds[];
  /** Its id. */
  readonly end: number;
}

const generate = (batch: number): Case => ({
  name: `generate, batch ${batch}`,
  ours: 'ours.js',
  rivals: [{ name: 'transformers', script: ['theirs.py'] }],
  policies: ['fp32', 'bf16'],
  prompts: [batch, 32],
  work: { newTokens: 48 },
  onlySize: batch !== 8,
});
const counted = (pairs: number) => (pairs === 1 ? '1 pair' : `${pairs} pairs`);
/** One step of a training whose reference is known, but in the source's way, which asks it in each step. */
const dpo = (pairs: number, promptLength = 0): Case => ({
  name: `dpo, ${counted(pairs)}${promptLength > 0 ? ', long prompts' : ''}`,
  ours: 'oursDpo.js',
  rivals: [
    { name: "the source's way", script: ['theirs_dpo.py', 'source'], fp32Only: true },
    { name: 'TRL 1.16', script: ['theirs_dpo_trl.py'] },
    { name: 'PyTorch, tuned', script: ['theirs_dpo.py', 'tuned'] },
  ],
  policies: ['fp32', 'bf16'],
  pairs: [pairs, promptLength],
  work: {},
  onlySize: pairs !== 4 || promptLength > 0,
  tolerance: 1e-3, // of the loss and the gradients' norm after several steps: AdamW makes full steps of gradients that are rounding errors
});
const score = (pairs: number): Case => ({
  name: `score, ${counted(pairs)}`,
  ours: 'oursScore.js',
  rivals: [{ name: 'transformers', script: ['theirs_dpo.py', 'score'] }],
  policies: ['fp32', 'bf16'],
  pairs: [pairs, 0],
  work: {},
  onlySize: pairs > 1,
  tolerance: 1e-5,
});
/** The same step with one of this library's choices undone. */
const choices: Case = {
  name: 'choices, 16 pairs',
  ours: 'oursDpo.js',
  rivals: [
    { name: 'each with its prompt', script: ['oursDpoPadded.js'] },
    { name: 'reference asked', script: ['oursDpo.js', 'live'] },
    { name: 'without oneDNN', script: ['oursDpo.js'], env: { TF_ENABLE_ONEDNN_OPTS: '0' } },
    { name: "malloc's memory", script: ['oursDpo.js'], env: { TF_CPU_ALLOCATOR_USE_BFC: 'false' } },
  ],
  policies: ['fp32'],
  pairs: [16, 0],
  work: {},
  tolerance: 1e-3,
};
/** Whole iterations, from prompts to the optimizer's last step. */
const trainings: readonly Case[] = [
  { name: 'grpo', ours: 'oursGrpo.js', rivals: [{ name: 'TRL 1.16', script: ['theirs_grpo.py'] }], policies: ['fp32'], prompts: [4, 32], work: { newTokens: 24, group: 4, rowsAtOnce: 8 } },
  { name: 'ppo', ours: 'oursPpo.js', rivals: [{ name: 'TRL 1.12', script: ['theirs_ppo.py'], packages: 'trl-ppo' }], policies: ['fp32'], prompts: [4, 32], work: { newTokens: 32, rowsAtOnce: 4, epochs: 4 } },
];
const cases: readonly Case[] = [...[1, 8, 32].map(generate), dpo(1), dpo(4), dpo(4, 200), dpo(16), score(1), score(250), choices, ...trainings];

interface Contender extends Command {
  readonly name: string;
  readonly policy: Policy;
  readonly isOurs: boolean;
}

const PYTHON = { PYTHONWARNINGS: 'ignore', TRANSFORMERS_VERBOSITY: 'error', TQDM_DISABLE: '1' };

function contendersOf({ ours, rivals }: Case, policy: Policy): Contender[] {
  const commandOf = ([script, ...rest]: Rival['script']): Command['command'] =>
    script.endsWith('.py') ? [join(root, '.alignbook', 'oracles', 'bin', 'python'), join(root, 'scripts', 'bench', script), ...rest] : [process.execPath, join(__dirname, script), ...rest];
  return [
    ...rivals.map(({ name, script, env, packages, fp32Only }): Contender => ({
      name,
      policy: fp32Only ? 'fp32' : policy,
      command: commandOf(script),
      env: { ...PYTHON, ALIGNBOOK_COMPUTE: policy, ...env, ...(packages && { PYTHONPATH: join(root, '.alignbook', packages) }) },
      isOurs: false,
    })),
    { name: 'ours', policy, command: commandOf([ours]), env: { ALIGNBOOK_COMPUTE: policy }, isOurs: true },
  ];
}

interface Row {
  readonly case: string;
  readonly contender: string;
  readonly isOurs: boolean;
  readonly policy: Policy;
  readonly seconds: readonly number[];
  readonly peakMegabytes: number;
}

async function measure(chosen: Case, policy: Policy, task: Omit<Task, 'policy'>, repetitions: number): Promise<{ rows: Row[]; differ: string[] }> {
  const contenders = contendersOf(chosen, policy);
  const workers = contenders.map((contender) => new Worker(contender, { ...task, policy: contender.policy }));
  try {
    for (const worker of workers) await worker.answer(); // ready, and warm
    const answers: Answer[][] = contenders.map(() => []);
    for (let repetition = 0; repetition < repetitions; repetition += 1) {
      for (const [n, worker] of workers.entries()) answers[n]!.push(await worker.repeat());
    }
    const rows = contenders.map(({ name, isOurs, policy: own }, n): Row => ({ case: chosen.name, contender: name, isOurs, policy: own, seconds: answers[n]!.map(({ seconds }) => seconds), peakMegabytes: workers[n]!.peak() }));
    const results = (n: number) => answers[n]!.map(({ result }) => result);
    const own = contenders.findIndex(({ isOurs }) => isOurs);
    const exact = policy === 'fp32' ? contenders.flatMap(({ isOurs }, n) => (isOurs ? [] : [n])) : []; // bf16 rounds differently
    return { rows, differ: exact.filter((n) => !near(results(n), results(own), chosen.tolerance ?? 0)).map((n) => `${contenders[n]!.name} ${JSON.stringify(results(n))}, ours ${JSON.stringify(results(own))}`) };
  } finally {
    workers.forEach((worker) => worker.end());
  }
}

function print(rows: readonly Row[], policy: Policy): void {
  const own = rows.find(({ isOurs }) => isOurs)!;
  for (const { contender, isOurs, policy: its, seconds, peakMegabytes, case: name } of rows) {
    const times = (of: typeof minimum) => `${(of(seconds) / of(own.seconds)).toFixed(2)}x`;
    const ratios = isOurs ? [] : [`${times(minimum)} (${times(median)})`, `${(own.peakMegabytes / peakMegabytes).toFixed(2)}x`];
    const columns = [minimum(seconds).toFixed(3), median(seconds).toFixed(3), peakMegabytes.toFixed(0), ...ratios];
    console.log([`${name}, ${policy}`.padEnd(32), `${contender}${its === policy ? '' : ` ${its}`}`.padEnd(22), ...columns.map((column, n) => column.padStart(WIDTHS[n]!))].join(' '));
  }
}

/** Of the columns. */
const WIDTHS = [8, 8, 8, 15, 8];

/** Ids for a case: pairs of the data, as `tiny`'s tokenizer has them, in the model's vocabulary and within its length. */
async function inputsOf({ prompts: [count, length] = [0, 0], pairs: [pairs, promptLength] = [0, 0] }: Case, model: string): Promise<Omit<Task, 'policy'>> {
  const { vocab_size: vocabSize, n_positions: positions, eos_token_id: end } = JSON.parse(readFileSync(join(model, 'config.json'), 'utf8')) as Record<'vocab_size' | 'n_positions' | 'eos_token_id', number>;
  const random = new Random(1);
  const prompts = Array.from({ length: count }, () => Array.from({ length }, () => random.integer(vocabSize)));
  const fitting = (ids: readonly number[], most: number) => ids.slice(0, most).map((id) => id % vocabSize);
  const response = (ids: readonly number[]) => [...fitting(ids.slice(0, -1), positions / 4).map((id) => (id === end ? end + 1 : id)), end];
  const read = pairs === 0 ? [] : (await readPairs(join(root, 'data', 'preferences', 'train.jsonl'), await Tokenizer.fromPretrained('tiny'), { maxLength: 128 })).slice(0, pairs);
  return {
    model,
    end,
    prompts,
    pairs: read.map(({ promptIds, chosenIds, rejectedIds }) => {
      const repeated = Array.from({ length: Math.max(1, Math.ceil(promptLength / promptIds.length)) }, () => promptIds).flat();
      return { promptIds: fitting(repeated, positions / 2), chosenIds: response(chosenIds), rejectedIds: response(rejectedIds) };
    }),
  };
}

/** A model folder, made once: transformers' own, so that both read the same file. */
async function modelFolder(quick: boolean): Promise<string> {
  const path = join(folder, quick ? 'small' : 'gpt2');
  if (existsSync(join(path, 'config.json'))) return path;
  mkdirSync(folder, { recursive: true });
  const child = spawn(join(root, '.alignbook', 'oracles', 'bin', 'python'), [join(root, 'scripts', 'bench', 'theirs.py'), '--make', path, ...(quick ? ['--small'] : [])], { stdio: ['ignore', 'ignore', 'inherit'] });
  const status = await new Promise((done) => child.on('close', done));
  if (status !== 0) throw new Error('the model could not be made');
  return path;
}

async function main(names: readonly string[], { quick, repetitions, keep }: Settings): Promise<number> {
  const chosen = cases.filter(({ name, onlySize }) => (names.length === 0 ? !(quick && onlySize) : names.some((beginning) => name.startsWith(beginning))));
  const model = await modelFolder(quick);
  const here = machine(['torch', 'transformers', 'trl']);
  console.log(`${headline(here)}\n`);
  console.log(`${''.padEnd(55)} ${['min s', 'median s', 'peak MB', 'time / ours', 'our MB'].map((head, n) => head.padStart(WIDTHS[n]!)).join(' ')}`);
  const bf16 = hasBfloat16(here);
  if (!bf16 && !quick) console.log('(bf16 is left out: this processor has neither AVX512_BF16 nor AMX, and would emulate it)');
  const results: Record<string, { rows: Row[] }> = {};
  let agree = true;
  for (const one of chosen) {
    const sized: Case = quick ? { ...one, ...(one.prompts && { prompts: [one.prompts[0], 5] }), ...(one.pairs && { pairs: [Math.min(one.pairs[0], 8), one.pairs[1]] }), work: { ...one.work, ...(one.work.newTokens && { newTokens: 4 }) } } : one;
    const inputs = { ...(await inputsOf(sized, model)), ...sized.work };
    for (const policy of sized.policies.filter((some) => some === 'fp32' || quick || bf16)) {
      const { rows, differ } = await measure(sized, policy, inputs, repetitions);
      print(rows, policy);
      for (const difference of differ) console.log(`${one.name}: the contenders in fp32 computed different things: ${difference.slice(0, 2000)}`);
      agree &&= differ.length === 0;
      results[`${one.name}, ${policy}`] = { rows };
    }
    writeResults('bench', here, results, { keep }); // after each: they took long
  }
  return agree ? 0 : 1;
}

interface Settings {
  readonly quick: boolean;
  readonly repetitions: number;
  readonly keep: boolean;
}

async function run(): Promise<number> {
  let names: string[];
  let settings: Settings;
  try {
    const options = { help: { type: 'boolean', short: 'h' }, quick: { type: 'boolean' }, repetitions: { type: 'string' }, keep: { type: 'boolean' } } as const;
    const { values, positionals } = parseArgs({ options, allowPositionals: true });
    if (values.help) {
      console.log(usage);
      return 0;
    }
    const unknown = positionals.find((beginning) => !cases.some(({ name }) => name.startsWith(beginning)));
    if (unknown !== undefined) throw new Error(`no case "${unknown}"; there are: ${cases.map(({ name }) => name).join('; ')}`);
    const repetitions = values.repetitions ?? (values.quick ? '1' : '7');
    if (!/^[1-9]\d*$/.test(repetitions)) throw new Error(`--repetitions takes a whole number above 0, not "${repetitions}"`);
    names = positionals;
    if (values.quick && values.keep) throw new Error('--quick times nothing, so there is nothing to keep');
    settings = { quick: values.quick ?? false, repetitions: Number(repetitions), keep: values.keep ?? false };
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${usage}`);
    return 2;
  }
  return main(names, settings);
}

run().then(
  (status) => (process.exitCode = status),
  (error: Error) => {
    console.error(error.message);
    process.exitCode = 1;
  },
);
