/** This library's scoring of pairs as a contender of bench.ts: the log-prob of each response. */
import { GPT2, referenceLogps } from 'alignbook';

import type { Task } from './cases';
import { inTurns } from './protocol';

async function main({ model: path, pairs }: Task): Promise<void> {
  const model = await GPT2.fromPretrained(path);
  await inTurns(async () =>
    referenceLogps(model, pairs).map(({ refChosenLogps, refRejectedLogps }) => [refChosenLogps, refRejectedLogps]),
  );
}

void main(JSON.parse(process.argv[2]!) as Task);
