/** `npm run frontier`: reward against KL, as in the DPO paper's Figure 2, left (arXiv 2305.18290, section 6.1). */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { GPT2, Tokenizer } from 'alignbook';
import { statusLine } from 'alignbook/dist/commands/terminal';
import { plural } from 'alignbook/dist/errors';
import { choices, flag, list, text, type OptionsOf } from 'alignbook/dist/training/declare';

import { script, UsageError } from '../command';
import { fromCaller, root } from '../paths';
import { evaluation, type Evaluation } from '../reviews/evaluation';
import { sentiment } from '../reviews/sentiment';
import { bestOf } from './bestOfN';
import { dpo } from './dpo';
import { grpo } from './grpo';
import { scaleOf, type Method, type Point, type Scale, type Setting, type Task } from './method';
import { onlineDpo } from './onlineDpo';
import { ppo } from './ppo';
import { addResult, readResults, sameRun, type Result } from './results';
import { sftModel, sftSettings } from './sft';

/** All methods in the comparison. */
const methods = (scale: Scale): readonly Method[] => [
  bestOf(scale),
  dpo(scale),
  ppo(scale),
  grpo(scale),
  onlineDpo(scale),
];

/** The seed of the draws, the same for every policy. */
const EVALUATION_SEED = 7;

const NAMES = methods('small').map(({ name }) => name);

const settings = {
  model: text({
    otherwise: 'MODEL, else tiny',
    help: 'Use this model: tiny, a hub name such as gpt2, or a folder such as ./my-gpt2.',
  }),
  methods: choices(NAMES, { value: 'names', otherwise: 'all', help: 'Run these methods.' }),
  seeds: list({ value: 'numbers', otherwise: '0,1,2', help: 'Run every setting with each seed.' }),
  quick: flag({
    help: 'Take few rows and steps, to see that everything works, and write to runs/frontier/quick.',
  }),
  list: flag({ help: 'List the runs that exist and those that are missing.' }),
} as const;

interface Options {
  readonly model: string;
  readonly names: readonly string[];
  readonly seeds: readonly number[];
  readonly quick: boolean;
  readonly list: boolean;
}

/** @throws UsageError if a seed is not a whole number. */
function optionsFrom({
  model = process.env['MODEL'] ?? 'tiny',
  methods: names = NAMES,
  seeds = ['0', '1', '2'],
  quick = false,
  list: listed = false,
}: OptionsOf<typeof settings>): Options {
  const wrong = seeds.find((seed) => !/^\d+$/.test(seed));
  if (wrong !== undefined) throw new UsageError(`--seeds takes whole numbers, such as 0,1,2, got "${wrong}"`);
  const folder = /^[./~]/.test(model) ? fromCaller(model) : model;
  return { model: folder, names, seeds: seeds.map(Number), quick, list: listed };
}

/** The part of a model's name or folder that file names can contain. */
const fileName = (model: string): string => model.replace(/^.*\/(?=[^/])/, '').replace(/[^\w.-]+/g, '-');

const promptsOf = (part: string): string[] =>
  readFileSync(join(root, 'data', 'reviews', `${part}.jsonl`), 'utf8')
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { prompt: string }).prompt);

const label = (method: string, setting: Setting, seed: number): string =>
  [method, ...Object.entries(setting).map(([name, value]) => `${name} ${value}`), `seed ${seed}`].join(', ');

const described = ({ step, reward, kl }: Point): string =>
  `step ${step}: reward ${reward.toFixed(3)}, KL ${kl.toFixed(2)}`;

function duration(seconds: number): string {
  return seconds < 100 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}

interface Run {
  readonly method: Method;
  readonly setting: Setting;
  readonly seed: number;
  readonly fingerprint: string;
}

/** An estimate in seconds, from the results of the same method or, if it was never run, of all methods. */
function timeLeft(runs: readonly Run[], results: readonly Result[]): string {
  const mean = (some: readonly Result[]) => some.reduce((sum, { seconds }) => sum + seconds, 0) / some.length;
  const seconds = runs.reduce((sum, { method: { name } }) => {
    const same = results.filter(({ method }) => method === name);
    return sum + mean(same.length > 0 ? same : results);
  }, 0);
  return Number.isFinite(seconds) ? `, about ${duration(seconds)} left` : '';
}

async function main({ model, names, seeds, quick, list }: Options): Promise<void> {
  const base = await GPT2.fromPretrained(model);
  const scale: Scale = scaleOf(base.config, quick);
  base.dispose();
  const folder = join(root, 'runs', 'frontier', ...(quick ? ['quick'] : []), fileName(model));
  const path = quick ? join(folder, 'results.jsonl') : join(root, 'data', 'frontier', `${fileName(model)}.jsonl`);

  const settings = sftSettings(root, model, scale);
  const rows = ['train', 'test'].map((part) => readFileSync(join(root, 'data', 'reviews', `${part}.jsonl`), 'utf8'));
  const heldOut = quick ? promptsOf('test').slice(0, 16) : promptsOf('test');
  const fingerprint = (method: Method) =>
    createHash('sha256')
      .update(JSON.stringify([settings, rows, heldOut.length, method.constants]))
      .digest('hex')
      .slice(0, 16);
  const wanted = methods(scale).filter(({ name }) => names.includes(name));
  const all = seeds.flatMap((seed) =>
    wanted.flatMap((method) =>
      method.settings.map((setting): Run => ({ method, setting, seed, fingerprint: fingerprint(method) })),
    ),
  );
  const there = ({ method, setting, seed, fingerprint: print }: Run) =>
    readResults(path).some(
      (result) => sameRun(result, { method: method.name, setting, seed }) && result.fingerprint === print,
    );
  const runs = all.filter((run) => !there(run));
  console.log(`${plural(all.length, 'run')}, of which ${all.length - runs.length} are in ${path}`);
  if (list)
    for (const run of all)
      console.log(`${runs.includes(run) ? 'to make' : '  there'}  ${label(run.method.name, run.setting, run.seed)}`);
  if (list || runs.length === 0) return;

  const sft = await sftModel(root, join(folder, 'sft'), settings);
  const tokenizer = await Tokenizer.fromPretrained(sft);
  const reference = await GPT2.fromPretrained(sft);
  const cache = join(folder, 'sft', 'cache');
  mkdirSync(cache, { recursive: true });
  const measured = (policy: GPT2) =>
    evaluation(policy, reference, tokenizer, heldOut, { reward: sentiment, seed: EVALUATION_SEED });
  let before: Evaluation | undefined; // the same for every run, because every run begins with the same weights

  for (const [n, { method, setting, seed, fingerprint: print }] of runs.entries()) {
    const name = label(method.name, setting, seed);
    const head = `run ${n + 1} of ${runs.length}: ${name}`;
    statusLine(head);
    const start = performance.now();
    const policy = await GPT2.fromPretrained(sft);
    const task: Task = {
      policy,
      reference,
      tokenizer,
      cache,
      heldOut,
      prompts: promptsOf('train'),
      reward: sentiment,
      onProgress: (share) => statusLine(`${head}, ${Math.round(100 * share)} %`),
      measure: async (step) => ({
        step,
        ...(step === 0 ? (before ??= await measured(policy)) : await measured(policy)),
      }),
    };
    const points: Point[] = [];
    try {
      for await (const point of method.run(task, setting, seed)) points.push(point);
    } finally {
      policy.dispose();
    }
    const seconds = Math.round((performance.now() - start) / 1000);
    await addResult(path, { method: method.name, setting, seed, fingerprint: print, seconds, points });
    statusLine('');
    console.log(
      `${name}: ${described(points.at(-1)!)}; ${duration(seconds)}. ${n + 1} of ${runs.length} ` +
        `runs${n + 1 < runs.length ? timeLeft(runs.slice(n + 1), readResults(path)) : ''}`,
    );
  }
  reference.dispose();
}

void script({
  name: 'frontier',
  summary:
    'Train a model on the reviews of data/reviews, then make its reviews more positive in several ways, and measure ' +
    'how much more, and how far each method moves from the start: the true reward against the KL, in nats, on ' +
    'held-out prompts.',
  settings,
  notes:
    'Each finished run is a line of data/frontier/MODEL.jsonl; it is not repeated unless its settings change. The ' +
    'model trained on the reviews is kept in runs/frontier/MODEL/sft. Once it exists, several processes can share ' +
    'the work, each with its own seeds or methods; on two cores two processes are faster than one, with ' +
    'TF_NUM_INTRAOP_THREADS=1 and OMP_NUM_THREADS=1.',
  status: '0 done, 1 the input is wrong, 2 usage, 130 interrupted',
  run: (values) => main(optionsFrom(values)),
});
