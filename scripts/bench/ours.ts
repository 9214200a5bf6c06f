/** This library's generation as a contender of bench.ts. */
import { generate, GPT2 } from 'alignbook';

import type { Task } from './cases';
import { inTurns } from './protocol';

async function main({ model: path, prompts, newTokens, batchSize, end }: Task): Promise<void> {
  const model = await GPT2.fromPretrained(path);
  const options = { maxNewTokens: newTokens, ...(batchSize && { batchSize, eosTokenId: end }) };
  await inTurns(async () => (await generate(model, prompts, options)).map(({ ids }) => ids));
}

void main(JSON.parse(process.argv[2]!) as Task);
