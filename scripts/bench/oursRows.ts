/** This library's reading and encoding of a file of pairs as a contender of bench.ts: node oursRows.js TASK. */
import { readPairs, Tokenizer } from 'alignbook';

import type { Task } from './cases';
import { inTurns } from './protocol';

const { model, file, maxLength } = JSON.parse(process.argv[2]!) as Task;

void Tokenizer.fromPretrained(model).then((tokenizer) =>
  inTurns(async () => {
    const pairs = await readPairs(file!, tokenizer, { maxLength: maxLength! });
    const tokens = (name: 'promptIds' | 'chosenIds' | 'rejectedIds') =>
      pairs.reduce((sum, pair) => sum + pair[name].length, 0);
    return [pairs.length, tokens('promptIds'), tokens('chosenIds'), tokens('rejectedIds')];
  }),
);
