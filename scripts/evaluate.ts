/** `npm run evaluate`: asks a model the questions of data/, and judges its greedy answers. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';

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
import { respond } from 'alignbook/dist/training/rollout';

import { command } from './command';
import type { Fact } from './data/facts';
import { judge } from './data/judge';
import { estimate } from './estimate';
import { table } from './notebooks/table';

const usage = `Usage: npm run evaluate -- --model M --data FILE [options]

Asks the model the questions of a file in data/, and judges its answers: which
are right, and which are courteous.

  --model M         tiny, or a folder such as runs/dpo/model
  --data FILE       data/instructions/train.jsonl, or a file of data/preferences
  --rows N          take N rows, drawn at random (default: all)
  --temperature T   sample answers at this temperature (default: 0, which always
                    takes the most likely token)
  --seed S          seed the draws of rows and tokens (default: 0)
  --reference R     compare with R, the model that M was trained from: the
                    reward accuracy, the mean margin in nats, and for sampled
                    answers the KL of a whole answer at that temperature
  --reward-model W  also report W's mean score of the answers

Exit status: 0 done, 1 the input is wrong, 2 usage.`;

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

function parse(): Options | null {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    options: {
      model: text,
      data: text,
      rows: text,
      temperature: text,
      seed: text,
      reference: text,
      'reward-model': text,
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help) return null;
  const {
    model,
    data,
    rows = 'Infinity',
    temperature = '0',
    seed = '0',
    reference,
    'reward-model': rewardModel,
  } = values;
  if (model === undefined || data === undefined) throw new Error('evaluate needs --model and --data');
  if (!(Number(rows) >= 1)) throw new Error(`--rows must be a number from 1 up, got "${rows}"`);
  if (!(Number(temperature) >= 0)) throw new Error(`--temperature must be a number from 0 up, got "${temperature}"`);
  return {
    model,
    data: resolve(process.env['INIT_CWD'] ?? '.', data),
    rows: Number(rows),
    temperature: Number(temperature),
    seed: Number(seed),
    reference,
    rewardModel,
  };
}

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
    statusLine(`${answers.length} of ${rows.length} questions`);
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
      `nats before β, of ${pairs.length} pairs`,
  );
}

void command(usage, parse, main);
