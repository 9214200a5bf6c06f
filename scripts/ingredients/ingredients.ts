/** `npm run ingredients`: GRPO on right or wrong answers, each of its ingredients alone and all together. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { GPT2, sampleResponses, Tokenizer, trainGrpo, type GrpoStep } from 'alignbook';
import { statusLine } from 'alignbook/dist/commands/terminal';
import { plural } from 'alignbook/dist/errors';
import { average } from 'alignbook/dist/moments';
import { choices, flag, list, type OptionsOf } from 'alignbook/dist/training/declare';
import { respond } from 'alignbook/dist/training/rollout';

import { script, UsageError } from '../command';
import { addResult, readResults, sameRun } from '../frontier/results';
import { sftModel } from '../frontier/sft';
import { root } from '../paths';
import { BASELINE, LOOKS, REWARDS, rewardsOf, VARIANTS, type Variant } from './variants';

const settings = {
  variants: choices(
    VARIANTS.map(({ name }) => name),
    { value: 'names', otherwise: 'all', help: 'Run these variants.' },
  ),
  seeds: list({ value: 'numbers', otherwise: '0,1,2', help: 'Run every variant with each seed.' }),
  list: flag({ help: 'List the runs that exist and those that are missing.' }),
} as const;

/** Measurements of the policy after some steps, on the words that are held out. */
export interface Look {
  readonly step: number;
  /** Fraction of greedy answers that are right, and of answers sampled at temperature 1, four for each word. */
  readonly greedy: number;
  readonly sampled: number;
  /** The mean length of the samples in tokens. */
  readonly length: number;
}

/** A line of the results. */
export interface Outcome {
  readonly method: string;
  readonly setting: Readonly<Record<string, number>>;
  readonly seed: number;
  readonly fingerprint: string;
  readonly seconds: number;
  /** Before the first step, and after those of `LOOKS`. */
  readonly looks: readonly Look[];
  readonly training: readonly Trained[];
}

/** What the training itself sees in a step. */
interface Trained {
  /** The mean score of its samples, and the mean of each reward. */
  readonly score: number;
  readonly rewards: Readonly<Record<string, number>>;
  readonly equalGroups: number;
  /** Null, as is the entropy, if no answer was learned from. */
  readonly clipFraction: number | null;
  /** In nats, over the answers that were learned from. */
  readonly entropy: number | null;
}

const known = (value: number): number | null => (Number.isNaN(value) ? null : value);
const trained = ({ scores: { mean: score, equalGroups }, rewards = {}, clipFraction, entropy }: GrpoStep): Trained => ({
  ...{ score, equalGroups, clipFraction: known(clipFraction), entropy: known(entropy) },
  rewards: Object.fromEntries(Object.entries(rewards).map(([name, { mean }]) => [name, mean])),
});

const EVALUATION_SEED = 7;
const SAMPLES = 4;
const DATA = join(root, 'data', 'right-or-wrong');
const RESULTS = join(DATA, 'results.jsonl');

interface Row {
  readonly prompt: string;
  readonly response: string;
}
const rowsOf = (name: string): Row[] =>
  readFileSync(join(DATA, `${name}.jsonl`), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Row);

async function look(model: GPT2, tokenizer: Tokenizer, rows: readonly Row[], step: number): Promise<Look> {
  const prompts = rows.map(({ prompt }) => tokenizer.encode(prompt));
  const indices = rows.map((_, n) => n);
  const options = { maxNewTokens: 12, seed: EVALUATION_SEED, samples: SAMPLES };
  const greedy = await respond(model, tokenizer, prompts, { ...options, samples: 1, temperature: 0 }, indices);
  const sampled = await sampleResponses(model, tokenizer, prompts, options);
  const right = (samples: typeof sampled) =>
    average(samples.map(({ prompt, text, ended }) => REWARDS.right(text, rows[prompt]!.response, ended)));
  return {
    step,
    greedy: right(greedy),
    sampled: right(sampled),
    length: average(sampled.map(({ ids }) => ids.length)),
  };
}

const rounded = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value, (_, each: unknown) => (typeof each === 'number' ? Number(each.toPrecision(6)) : each)),
  );

async function main({
  variants = VARIANTS.map(({ name }) => name),
  seeds = ['0', '1', '2'],
  list: listed,
}: OptionsOf<typeof settings>): Promise<void> {
  const wrong = seeds.find((seed) => !/^\d+$/.test(seed));
  if (wrong !== undefined) throw new UsageError(`--seeds takes whole numbers, such as 0,1,2, got "${wrong}"`);
  const [train, heldout] = [rowsOf('train'), rowsOf('heldout')];
  const sft = {
    ...(JSON.parse(readFileSync(join(DATA, 'train-sft.json'), 'utf8')) as Record<string, unknown>),
    output: undefined,
  };
  const fingerprint = (variant: Variant) =>
    createHash('sha256')
      .update(JSON.stringify([sft, train, heldout, BASELINE, LOOKS, SAMPLES, variant]))
      .digest('hex')
      .slice(0, 16);
  const all = seeds.flatMap((seed) =>
    VARIANTS.filter(({ name }) => variants.includes(name)).map((variant) => ({ variant, seed: Number(seed) })),
  );
  const results = readResults<Outcome>(RESULTS);
  const isThere = ({ variant, seed }: (typeof all)[number]) =>
    results.some(
      (result) =>
        sameRun(result, { method: variant.name, setting: {}, seed }) && result.fingerprint === fingerprint(variant),
    );
  const runs = all.filter((run) => !isThere(run));
  console.log(`${plural(all.length, 'run')}, of which ${all.length - runs.length} are in ${RESULTS}`);
  if (listed)
    for (const run of all)
      console.log(`${runs.includes(run) ? 'to make' : '  there'}  ${run.variant.name}, seed ${run.seed}`);
  if (listed || runs.length === 0) return;

  const start = await sftModel(root, join(root, 'runs', 'ingredients', 'sft'), sft);
  const tokenizer = await Tokenizer.fromPretrained(start);
  const prompts = train.map(({ prompt }) => tokenizer.encode(prompt));
  let before: Look | undefined; // the same for every run
  for (const [n, { variant, seed }] of runs.entries()) {
    const head = `run ${n + 1} of ${runs.length}: ${variant.name}, seed ${seed}`;
    statusLine(head);
    const began = performance.now();
    const policy = await GPT2.fromPretrained(start);
    const looks = [(before ??= await look(policy, tokenizer, heldout, 0))];
    const training: Trained[] = [];
    const rewards = rewardsOf(
      variant,
      train.map(({ response }) => response),
    );
    const options = { ...BASELINE, ...variant.options, steps: LOOKS.at(-1)!, seed };
    for await (const step of trainGrpo(policy, prompts, options, { tokenizer, rewards })) {
      statusLine(`${head}, step ${step.step}`);
      training.push(trained(step));
      if (LOOKS.includes(step.step)) looks.push(await look(policy, tokenizer, heldout, step.step));
    }
    policy.dispose();
    const seconds = Math.round((performance.now() - began) / 1000);
    const outcome = {
      method: variant.name,
      setting: {},
      seed,
      fingerprint: fingerprint(variant),
      seconds,
      looks,
      training,
    };
    await addResult(RESULTS, rounded(outcome) as Outcome);
    statusLine('');
    const { greedy, sampled } = looks.at(-1)!;
    console.log(
      `${variant.name}, seed ${seed}: greedy ${greedy.toFixed(3)}, sampled ${sampled.toFixed(3)}; ${seconds} s`,
    );
  }
}

void script({
  name: 'ingredients',
  summary:
    'Train tiny to spell words backwards, then make it better by GRPO, with each ingredient alone and with all ' +
    'together, and measure on held-out words how many answers are right.',
  settings,
  notes:
    'Each finished run is a line of data/right-or-wrong/results.jsonl; it is not repeated unless its settings ' +
    'change. The model that all begin with is kept in runs/ingredients/sft.',
  status: '0 done, 1 the input is wrong, 2 usage, 130 interrupted',
  run: (values) => main(values),
});
