/** This library's generation as a contender of bench.ts. */
import { generate, GPT2 } from 'alignbook';

import type { Task } from './bench';
import { inTurns } from './protocol';

async function main({ model: path, prompts, newTokens }: Task): Promise<void> {
  const model = await GPT2.fromPretrained(path);
  await inTurns(async () => (await generate(model, prompts, { maxNewTokens: newTokens })).map(({ ids }) => ids));
}

void main(JSON.parse(process.argv[2]!) as Task);
