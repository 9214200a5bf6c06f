/**
 * The protocol of a worker of bench.ts: `ready` once it is warm, then one JSON line for each line that it reads. Also
 * the settings that several workers share.
 */
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

/**
 * The settings of every DPO step that bench.ts times. Weights decay by lr times 0.1, which is large enough for float32.
 */
export const LEARNING = { lr: 1e-6, weightDecay: 0.1, schedule: 'constant' } as const;

/** No token ends a response, so all contenders generate equally many tokens; the texts are not used. */
export const endless = { eosTokenId: -1, decode: (): string => '' };
