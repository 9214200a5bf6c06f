/** The protocol of a worker of bench.ts: `ready` once it is warm, then one JSON line for each line that it reads. */
import { createInterface } from 'node:readline';

export async function inTurns(repeat: () => Promise<unknown>): Promise<void> {
  const answer = (value: object) => process.stdout.write(`${JSON.stringify(value)}\n`);
  await repeat();
  answer({ ready: true });
  for await (const _ of createInterface({ input: process.stdin })) {
    const start = performance.now();
    const result = await repeat();
    answer({ seconds: (performance.now() - start) / 1000, result });
  }
}
