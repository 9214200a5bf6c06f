/**
 * `npm run bench`: this library beside transformers and TRL on the same work, in one run. Needs the oracles.
 *
 * Each contender is a process of its own that waits for a line before each repetition, so that they take turns and share
 * whatever the machine does meanwhile. What they compute is compared, too: a fast wrong answer wins nothing.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

import { Random } from 'alignbook';

const usage = `Usage: npm run bench -- [CASE…] [--quick] [--repetitions N]

Times this library and Python's in turns and prints minimum, median, throughput, peak memory and the ratio of the minima.

  CASE              a name, or the beginning of one, such as generate (default: all)
  --repetitions N   of each contender (default: 7)
  --quick           once each, on a small model: shows that everything runs, and times nothing
  --help

The model is a GPT-2 of 124M random parameters. Results also go to executed/bench.json.
Exit status: 0 done, 1 contenders computed different things or failed, 2 usage.`;

const root = resolve(__dirname, '..', '..', '..', '..');
const folder = join(root, '.alignbook', 'bench');

type Policy = 'fp32' | 'bf16';

/** The work beside the prompts, as a worker is told of it. */
interface Work {
  readonly newTokens: number;
  /** Responses to each prompt. Default: 1. */
  readonly group?: number;
  /** In trainings: rows of a forward and backward pass; their gradients are added up. */
  readonly rowsAtOnce?: number;
  /** In PPO: updates on a rollout, all of its rows each. */
  readonly epochs?: number;
}

interface Case {
  readonly name: string;
  /** Scripts of this folder that do it: the library's and Python's. */
  readonly ours: string;
  readonly theirs: string;
  /** What Python's is called. */
  readonly rival: string;
  /** A folder of .alignbook with packages that Python is to find before those of the oracles. */
  readonly packages?: string;
  readonly policies: readonly Policy[];
  readonly batch: number;
  readonly promptLength: number;
  readonly work: Work;
}

/** What a worker is told. */
export interface Task extends Work {
  readonly model: string;
  readonly policy: Policy;
  readonly prompts: readonly (readonly number[])[];
}

const generate = (batch: number): Case => ({
  name: `generate, batch ${batch}`,
  ours: 'ours.js',
  theirs: 'theirs.py',
  rival: 'transformers',
  policies: ['fp32', 'bf16'],
  batch,
  promptLength: 32,
  work: { newTokens: 48 },
});
/** Whole iterations, from prompts to the optimizer's last step. */
const trainings: readonly Case[] = [
  { name: 'grpo', ours: 'oursGrpo.js', theirs: 'theirs_grpo.py', rival: 'TRL 1.16', policies: ['fp32'], batch: 4, promptLength: 32, work: { newTokens: 24, group: 4, rowsAtOnce: 8 } },
  { name: 'ppo', ours: 'oursPpo.js', theirs: 'theirs_ppo.py', rival: 'TRL 1.12', packages: 'trl-ppo', policies: ['fp32'], batch: 4, promptLength: 32, work: { newTokens: 32, rowsAtOnce: 4, epochs: 4 } },
];
const cases: readonly Case[] = [generate(1), generate(8), ...trainings];

interface Contender {
  readonly name: string;
  readonly policy: Policy;
  /** The program and its script. */
  readonly command: readonly [string, string];
  readonly env: NodeJS.ProcessEnv;
  readonly isOurs: boolean;
}

function contendersOf({ ours, theirs, rival, packages, policies }: Case): Contender[] {
  const python = join(root, '.alignbook', 'oracles', 'bin', 'python');
  return policies.flatMap((policy): Contender[] => [
    {
      name: `${rival} ${policy}`,
      policy,
      command: [python, join(root, 'scripts', 'bench', theirs)],
      env: { PYTHONWARNINGS: 'ignore', TRANSFORMERS_VERBOSITY: 'error', ...(packages && { PYTHONPATH: join(root, '.alignbook', packages) }) },
      isOurs: false,
    },
    { name: `ours ${policy}`, policy, command: [process.execPath, join(__dirname, ours)], env: {}, isOurs: true },
  ]);
}

/** What a worker answers, one JSON line: to its start with `ready`, to a line "go" with the rest. */
interface Answer {
  readonly seconds: number;
  readonly result: unknown;
}

class Worker {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(contender: Contender, task: Task) {
    const [program, script] = contender.command;
    const args = [script, JSON.stringify(task)];
    const env = { ...process.env, ...contender.env, ALIGNBOOK_COMPUTE: contender.policy, OMP_NUM_THREADS: `${availableParallelism()}`, HF_HUB_OFFLINE: '1' };
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'], env });
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  async answer(): Promise<Answer> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('a contender ended early; its message is above');
    return JSON.parse(value) as Answer;
  }

  async repeat(): Promise<Answer> {
    this.#child.stdin!.write('go\n');
    return this.answer();
  }

  /** The most memory that the process has held, in MB. */
  peak(): number {
    const status = readFileSync(`/proc/${this.#child.pid}/status`, 'utf8');
    return Number(/^VmHWM:\s*(\d+) kB$/m.exec(status)![1]) / 1000;
  }

  end(): void {
    this.#child.kill();
  }
}

interface Row {
  readonly case: string;
  readonly contender: string;
  readonly isOurs: boolean;
  readonly policy: Policy;
  readonly seconds: readonly number[];
  readonly tokensPerSecond: number;
  readonly peakMegabytes: number;
}

const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return Number.isInteger(middle) ? (sorted[middle - 1]! + sorted[middle]!) / 2 : sorted[Math.floor(middle)]!;
};

async function measure(chosen: Case, model: string, repetitions: number): Promise<{ rows: Row[]; agree: boolean }> {
  const { vocab_size: vocabSize } = JSON.parse(readFileSync(join(model, 'config.json'), 'utf8')) as { vocab_size: number };
  const random = new Random(1);
  const prompts = Array.from({ length: chosen.batch }, () => Array.from({ length: chosen.promptLength }, () => random.integer(vocabSize)));
  const contenders = contendersOf(chosen);
  const workers = contenders.map((contender) => new Worker(contender, { model, policy: contender.policy, prompts, ...chosen.work }));
  try {
    for (const worker of workers) await worker.answer(); // ready, and warm
    const seconds: number[][] = contenders.map(() => []);
    const results: unknown[] = [];
    for (let repetition = 0; repetition < repetitions; repetition += 1) {
      for (const [n, worker] of workers.entries()) {
        const answer = await worker.repeat();
        seconds[n]!.push(answer.seconds);
        results[n] = answer.result;
      }
    }
    const tokens = chosen.batch * (chosen.work.group ?? 1) * chosen.work.newTokens;
    const rows = contenders.map(({ name, isOurs, policy }, n): Row => ({
      case: chosen.name,
      contender: name,
      isOurs,
      policy,
      seconds: seconds[n]!,
      tokensPerSecond: tokens / Math.min(...seconds[n]!),
      peakMegabytes: workers[n]!.peak(),
    }));
    const exact = contenders.flatMap(({ policy }, n) => (policy === 'fp32' ? [JSON.stringify(results[n])] : [])); // bf16 rounds differently
    return { rows, agree: new Set(exact).size === 1 };
  } finally {
    workers.forEach((worker) => worker.end());
  }
}

function print(rows: readonly Row[]): void {
  for (const { contender, isOurs, policy, seconds, tokensPerSecond, peakMegabytes, case: name } of rows) {
    const rival = rows.find((row) => !row.isOurs && row.policy === policy)!;
    const ratio = isOurs ? `${(Math.min(...rival.seconds) / Math.min(...seconds)).toFixed(2)}x` : '';
    const columns = [Math.min(...seconds).toFixed(3), median(seconds).toFixed(3), tokensPerSecond.toFixed(1), peakMegabytes.toFixed(0), ratio];
    console.log([name.padEnd(20), contender.padEnd(18), ...columns.map((column) => column.padStart(9))].join(' '));
  }
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

async function main(names: readonly string[], { quick, repetitions }: { quick: boolean; repetitions: number }): Promise<number> {
  const chosen = cases.filter(({ name }) => names.length === 0 || names.some((beginning) => name.startsWith(beginning)));
  const model = await modelFolder(quick);
  console.log(`${cpus()[0]!.model.trim()}, ${availableParallelism()} cores, Node ${process.versions.node}\n`);
  console.log(`${''.padEnd(39)} ${['min s', 'median s', 'tokens/s', 'peak MB', 'ratio'].map((head) => head.padStart(9)).join(' ')}`);
  const all: Row[] = [];
  let agree = true;
  for (const one of chosen) {
    const measured = await measure(quick ? { ...one, promptLength: 5, work: { ...one.work, newTokens: 4 } } : one, model, repetitions);
    print(measured.rows);
    if (!measured.agree) console.log(`${one.name}: the contenders in fp32 computed different things`);
    agree &&= measured.agree;
    all.push(...measured.rows);
  }
  mkdirSync(join(root, 'executed'), { recursive: true });
  const record = { date: new Date().toISOString(), cpu: cpus()[0]!.model.trim(), cores: availableParallelism(), node: process.versions.node, quick, rows: all };
  writeFileSync(join(root, 'executed', 'bench.json'), `${JSON.stringify(record, null, 2)}\n`);
  return agree ? 0 : 1;
}

async function run(): Promise<number> {
  let names: string[];
  let settings: { quick: boolean; repetitions: number };
  try {
    const options = { help: { type: 'boolean', short: 'h' }, quick: { type: 'boolean' }, repetitions: { type: 'string' } } as const;
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
    settings = { quick: values.quick ?? false, repetitions: Number(repetitions) };
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
