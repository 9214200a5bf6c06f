/** `npm run evaluate`: asks a model the questions of data/, and judges its greedy answers. */
import { readFileSync } from 'node:fs';

import {
  alpacaPrompt,
  evaluateDpo,
  GPT2,
  InputError,
  Random,
  readPairs,
  referenceLogps,
  RewardModel,
  rewardOf,
  sampleLogps,
  sequenceKl,
  Tokenizer,
  type Sample,
} from 'alignbook';
import { statusLine } from 'alignbook/dist/commands/terminal';
import { plural } from 'alignbook/dist/errors';
import { RANGES, whole } from 'alignbook/dist/ranges';
import { number, path, text } from 'alignbook/dist/training/declare';
import { respond } from 'alignbook/dist/training/rollout';

import { script } from './command';
import type { Fact } from './data/facts';
import { judge } from './data/judge';
import { estimate } from './estimate';
import { table } from './notebooks/table';
import { fromCaller } from './paths';

const settings = {
  model: text({ required: true, help: 'Ask this model: tiny, or a folder such as runs/dpo/model.' }),
  data: path({
    required: true,
    value: 'file',
    help: 'Ask the questions of data/instructions/train.jsonl, or of a file of data/preferences.',
  }),
  rows: number(whole(1), { otherwise: 'all', help: 'Take N rows, drawn at random.' }),
  temperature: number(
    { ...RANGES.generation.temperature, least: 0, most: Infinity },
    { default: 0, help: 'Sample answers at this temperature; 0 always takes the most likely token.' },
  ),
  seed: number(RANGES.generation.seed, { default: 0, help: 'Seed the draws of rows and tokens.' }),
  reference: text({
    help:
      'Compare with this model, from which the other was trained: the reward accuracy, the mean margin in nats, and ' +
      'for sampled answers the KL of a whole answer at that temperature.',
  }),
  rewardModel: text({ help: "Also report this reward model's mean score of the answers." }),
} as const;

type Row = Fact & { readonly instruction: string };

interface Options {
  readonly model: string;
  readonly data: string;
  readonly rows: number;
  readonly seed: number;
  readonly temperature: number;
  readonly reference: string | undefined;
  readonly rewardModel: string | undefined;
}

const BATCH = 50;

/** @throws InputError, naming the command for other data, if a row is not one of the project's own questions. */
function readRows(model: string, data: string): Row[] {
  const elsewhere =
    'npm run evaluate judges the questions of data/ alone; for any other pairs: npx alignbook evaluate --model ' +
    `${model} --data ${data}`;
  return readFileSync(data, 'utf8')
    .trim()
    .split('\n')
    .map((line, n) => {
      let row: unknown;
      try {
        row = JSON.parse(line);
      } catch {
        throw new InputError(`${data}: line ${n + 1}: is not JSON: ${elsewhere}`);
      }
      const missing = ['instruction', 'kind', 'word', 'answer'].find(
        (field) => typeof (row as Record<string, unknown> | null)?.[field] !== 'string',
      );
      if (missing !== undefined) throw new InputError(`${data}: line ${n + 1}: has no "${missing}": ${elsewhere}`);
      return row as Row;
    });
}

async function main({
  model: name,
  data,
  rows: count,
  temperature,
  seed,
  reference,
  rewardModel,
}: Options): Promise<void> {
  const all = readRows(name, data);
  const rows = count < all.length ? new Random(seed).shuffle(all).slice(0, count) : all;
  const tokenizer = await Tokenizer.fromPretrained(name);
  const model = await GPT2.fromPretrained(name);
  const prompts = rows.map(({ instruction }) => tokenizer.encode(alpacaPrompt({ instruction })));

  const answers: Sample[] = [];
  for (let start = 0; start < rows.length; start += BATCH) {
    const some = Array.from({ length: Math.min(BATCH, rows.length - start) }, (_, n) => start + n);
    answers.push(...(await respond(model, tokenizer, prompts, { temperature, seed: seed + start }, some)));
    statusLine(`${answers.length} of ${plural(rows.length, 'question')}`);
  }
  statusLine('');
  const verdicts = answers.map(({ prompt, text }) => {
    const { style, correct } = judge(rows[prompt]!, text);
    return { kind: rows[prompt]!.kind, correct, courteous: style === 'courteous' };
  });

  const line = (kind: string, of: readonly (typeof verdicts)[number][]) => {
    const share = (holds: (verdict: (typeof verdicts)[number]) => boolean) => {
      const held = of.filter(holds).length;
      return [`${held}`, `${((100 * held) / of.length).toFixed(1)} %`];
    };
    return [kind, `${of.length}`, ...share(({ correct }) => correct), ...share(({ courteous }) => courteous)];
  };
  const kinds = [...new Set(verdicts.map(({ kind }) => kind))].sort();
  console.log(
    table(
      ['kind', 'questions', 'right', '', 'courteous', ''],
      kinds.map((kind) =>
        line(
          kind,
          verdicts.filter((verdict) => verdict.kind === kind),
        ),
      ),
      line('all', verdicts),
    ),
  );

  if (rewardModel !== undefined) {
    const { mean, standardError } = estimate(await rewardOf(await RewardModel.fromPretrained(rewardModel))(answers));
    console.log(`\nscore of the reward model ${mean.toFixed(3)} ± ${standardError.toFixed(3)}`);
  }
  if (reference === undefined) return;
  const before = await GPT2.fromPretrained(reference);
  if (temperature > 0) {
    const { mean, standardError } = estimate(
      sequenceKl(sampleLogps(model, answers, { temperature }), sampleLogps(before, answers, { temperature })),
    );
    console.log(`\nKL ${mean.toFixed(2)} ± ${standardError.toFixed(2)} nats an answer`);
  }
  const pairs = await readPairs(data, tokenizer, { maxLength: model.config.blockSize });
  const { rewards } = evaluateDpo(model, pairs, referenceLogps(before, pairs));
  console.log(
    `\nreward accuracy ${(100 * rewards.accuracies).toFixed(1)} %, margin ${(rewards.margins / 0.1).toFixed(2)} ` +
      `nats before β, of ${plural(pairs.length, 'pair')}`,
  );
}

void script({
  name: 'evaluate',
  summary: 'Ask a model the questions of a file in data/, and judge its answers: which are right, and which courteous.',
  settings,
  status: '0 done, 1 the input is wrong, 2 usage',
  run: ({ rows = Infinity, temperature = 0, seed = 0, reference, rewardModel, ...named }) =>
    main({ ...named, data: fromCaller(named.data), rows, temperature, seed, reference, rewardModel }),
});
