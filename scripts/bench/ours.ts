/** This library as a contender of bench.ts. */
import { createInterface } from 'node:readline';

import { generate, GPT2 } from 'alignbook';

import type { Task } from './bench';

async function main({ model: path, prompts, newTokens }: Task): Promise<void> {
  const model = await GPT2.fromPretrained(path);
  const repeat = async () => (await generate(model, prompts, { maxNewTokens: newTokens })).map(({ ids }) => ids);
  const answer = (value: object) => process.stdout.write(`${JSON.stringify(value)}\n`);
  await repeat();
  answer({ ready: true });
  for await (const _ of createInterface({ input: process.stdin })) {
    const start = performance.now();
    const result = await repeat();
    answer({ seconds: (performance.now() - start) / 1000, result });
  }
}

void main(JSON.parse(process.argv[2]!) as Task);
