/** `npm run evaluate`: asks a model the questions of data/, and judges its greedy answers. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';

import { alpacaPrompt, evaluateDpo, generate, GPT2, Random, readPairs, referenceLogps, Tokenizer } from 'alignbook';

import type { Fact } from './data/facts';
import { judge } from './data/judge';
import { table } from './notebooks/table';

const usage = `Usage: npm run evaluate -- --model M --data FILE [--rows N] [--seed S] [--reference R]

Asks the model the questions of a file of data/, and judges its greedy answers: which are right, which courteous.

  --model M       tiny, or a folder such as runs/dpo/model
  --data FILE     data/instructions/train.jsonl or one of data/preferences
  --rows N        so many rows, drawn at random (default: all)
  --seed S        of that draw (default 0)
  --reference R   the model that M was trained from: also the share of the file's pairs whose chosen answer M has
                  raised above the rejected one, against R (the reward accuracy), and the mean margin in nats

Exit status: 0 done, 1 the input is wrong, 2 usage.`;

type Row = Fact & { readonly instruction: string };

interface Options {
  readonly model: string;
  readonly data: string;
  readonly rows: number;
  readonly seed: number;
  readonly reference: string | undefined;
}

const BATCH = 50;

function parse(): Options | null {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({ options: { model: text, data: text, rows: text, seed: text, reference: text, help: { type: 'boolean', short: 'h' } } });
  if (values.help) return null;
  const { model, data, rows = 'Infinity', seed = '0', reference } = values;
  if (model === undefined || data === undefined) throw new Error('evaluate needs --model and --data');
  if (!(Number(rows) >= 1)) throw new Error(`--rows must be a number from 1 up, got "${rows}"`);
  return { model, data: resolve(process.env['INIT_CWD'] ?? '.', data), rows: Number(rows), seed: Number(seed), reference };
}

async function main({ model: name, data, rows: count, seed, reference }: Options): Promise<void> {
  const all = readFileSync(data, 'utf8').trim().split('\n').map((line) => JSON.parse(line) as Row);
  const rows = count < all.length ? new Random(seed).shuffle(all).slice(0, count) : all;
  const tokenizer = await Tokenizer.fromPretrained(name);
  const model = await GPT2.fromPretrained(name);

  const verdicts: { kind: string; correct: boolean; courteous: boolean }[] = [];
  for (let start = 0; start < rows.length; start += BATCH) {
    const some = rows.slice(start, start + BATCH);
    const prompts = some.map(({ instruction }) => tokenizer.encode(alpacaPrompt({ instruction })));
    const answers = await generate(model, prompts, { eosTokenId: tokenizer.eosTokenId });
    answers.forEach(({ ids, finish }, n) => {
      const row = some[n]!;
      const { style, correct } = judge(row, tokenizer.decode(finish === 'eos' ? ids.slice(0, -1) : ids));
      verdicts.push({ kind: row.kind, correct, courteous: style === 'courteous' });
    });
    if (process.stderr.isTTY) process.stderr.write(`\r${verdicts.length} of ${rows.length} questions\x1b[K`);
  }
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');

  const line = (kind: string, of: readonly (typeof verdicts)[number][]) => {
    const share = (holds: (verdict: (typeof verdicts)[number]) => boolean) => {
      const held = of.filter(holds).length;
      return [`${held}`, `${((100 * held) / of.length).toFixed(1)} %`];
    };
    return [kind, `${of.length}`, ...share(({ correct }) => correct), ...share(({ courteous }) => courteous)];
  };
  const kinds = [...new Set(verdicts.map(({ kind }) => kind))].sort();
  console.log(table(['kind', 'questions', 'right', '', 'courteous', ''], kinds.map((kind) => line(kind, verdicts.filter((verdict) => verdict.kind === kind))), line('all', verdicts)));

  if (reference === undefined) return;
  const pairs = await readPairs(data, tokenizer, { maxLength: model.config.blockSize });
  const { rewards } = evaluateDpo(model, pairs, referenceLogps(await GPT2.fromPretrained(reference), pairs));
  console.log(`\nreward accuracy ${(100 * rewards.accuracies).toFixed(1)} %, margin ${(rewards.margins / 0.1).toFixed(2)} nats, of ${pairs.length} pairs`);
}

let options: Options | null;
try {
  options = parse();
} catch (error) {
  console.error(`${(error as Error).message}\n\n${usage}`);
  process.exit(2);
}
if (options === null) console.log(usage);
else {
  main(options).catch((error: Error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
}
