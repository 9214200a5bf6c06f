/** The inputs of the contenders in a case. */
import { mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { Random, readPairs, Tokenizer, type PairIds } from 'alignbook';
import { replaceFile } from 'alignbook/dist/formats/replace';

import { root } from '../paths';
import type { Case, Task } from './cases';

/**
 * Ids for a case: random ones, and pairs of the data as `tiny`'s tokenizer encodes them, within the model's vocabulary
 * and length.
 */
export async function inputsOf(
  {
    prompts: [count, length] = [0, 0],
    questions = 0,
    pairs: [pairs, promptLength] = [0, 0],
    randomPairs: [randomPairs, ...lengths] = [0, 0, 0],
    rows = 0,
  }: Case,
  model: string,
): Promise<Omit<Task, 'policy'>> {
  const {
    vocab_size: vocabSize,
    n_positions: positions,
    eos_token_id: end,
  } = JSON.parse(readFileSync(join(model, 'config.json'), 'utf8')) as Record<
    'vocab_size' | 'n_positions' | 'eos_token_id',
    number
  >;
  const random = new Random(1);
  const randomIds = (howMany: number) => Array.from({ length: howMany }, () => random.integer(vocabSize));
  const fitting = (ids: readonly number[], most: number) => ids.slice(0, most).map((id) => id % vocabSize);
  const response = (ids: readonly number[]) => [
    ...fitting(ids.slice(0, -1), positions / 4).map((id) => (id === end ? end + 1 : id)),
    end,
  ];
  const data =
    pairs + questions === 0
      ? []
      : await readPairs(join(root, 'data', 'preferences', 'train.jsonl'), await Tokenizer.fromPretrained('tiny'), {
          maxLength: 128,
        });
  const ofData = data.slice(0, pairs).map(({ promptIds, chosenIds, rejectedIds }): PairIds => {
    const repeated = Array.from(
      { length: Math.max(1, Math.ceil(promptLength / promptIds.length)) },
      () => promptIds,
    ).flat();
    return {
      promptIds: fitting(repeated, positions / 2),
      chosenIds: response(chosenIds),
      rejectedIds: response(rejectedIds),
    };
  });
  const atRandom = (): PairIds => {
    const [promptIds, chosenIds, rejectedIds] = [lengths[0], lengths[1], lengths[1]].map(randomIds) as [
      number[],
      number[],
      number[],
    ];
    return { promptIds, chosenIds: response(chosenIds), rejectedIds: response(rejectedIds) };
  };
  return {
    model,
    end,
    prompts: [
      ...Array.from({ length: count }, () => randomIds(length)),
      ...data.slice(0, questions).map(({ promptIds }) => promptIds),
    ],
    pairs: [...ofData, ...Array.from({ length: randomPairs }, atRandom)],
    ...(rows > 0 && { file: rowsFile(rows, random), maxLength: positions }),
  };
}

/** A file of pairs whose texts are words of the training data: prompts of 20 to 80, responses of 10 to 40. */
function rowsFile(count: number, random: Random): string {
  const text = readFileSync(join(root, 'data', 'preferences', 'train.jsonl'), 'utf8');
  const words = [...new Set(text.match(/[a-z]+/g))];
  const some = (least: number, most: number) =>
    Array.from({ length: least + random.integer(most - least + 1) }, () => words[random.integer(words.length)]!).join(
      ' ',
    );
  const path = join(root, '.alignbook', 'bench', `rows-${count}.jsonl`);
  mkdirSync(dirname(path), { recursive: true });
  const row = () => ({ prompt: `${some(20, 80)}:`, chosen: ` ${some(10, 40)}.`, rejected: ` ${some(10, 40)}.` });
  replaceFile(path, (append) => {
    for (let n = 0; n < count; n += 1) append(`${JSON.stringify(row())}\n`);
  });
  return path;
}

/** Smaller sizes for `--quick`. */
export function smaller(one: Case): Case {
  const { prompts, questions, pairs, randomPairs, rows, rivals, work, amount: _, ...others } = one;
  return {
    ...others,
    rivals: rivals.filter(({ slowStart }) => !slowStart),
    ...(prompts && { prompts: [prompts[0], 5] as const }),
    ...(questions && { questions: 5 }),
    ...(rows && { rows: 50 }),
    ...(pairs && { pairs: [Math.min(pairs[0], 8), pairs[1]] as const }),
    ...(randomPairs && { randomPairs: [2, 8, 4] as const }),
    work: { ...work, ...(work.newTokens && { newTokens: 4 }), ...(work.times && { times: 1 }) },
  };
}
