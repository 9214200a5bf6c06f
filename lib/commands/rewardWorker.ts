/**
 * Runs a user's reward or metric function in its own thread, for rewardFunction.ts. Whatever the function does, the
 * training can save its last step and report what happened.
 */
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parentPort, workerData } from 'node:worker_threads';

import type { Sample } from '../training/rollout';

/** What the thread receives. */
export interface Task {
  readonly path: string;
}

/** The thread's answers: first that it is ready, then the scores of each list of samples. */
export type Answer =
  | { readonly kind: 'ready' }
  | { readonly kind: 'scores'; readonly scores: unknown }
  | {
      readonly kind: 'failed';
      readonly message: string;
      readonly place?: string | undefined;
      /** The sample that fails by itself. */ readonly sample?: number | undefined;
    };

type RewardFunction = (samples: readonly Sample[]) => unknown;

const { path } = workerData as Task;
const answer = (message: Answer): void => parentPort!.postMessage(message);

async function load(): Promise<RewardFunction> {
  const loaded = (await import(pathToFileURL(resolve(path)).href)) as { default?: unknown };
  const exported = loaded.default ?? loaded;
  const deeper = (exported as { default?: unknown }).default;
  // a default export compiled to CommonJS is one level deeper
  return (typeof exported === 'function' ? exported : deeper) as RewardFunction;
}

/** The line in the module's file at which an error arose. */
function placeOf(error: unknown): string | undefined {
  const name = resolve(path);
  const line = (error instanceof Error ? (error.stack ?? '') : '').split('\n').find((text) => text.includes(name));
  return line === undefined ? undefined : /:(\d+):\d+\)?$/.exec(line)?.[1];
}

const said = (error: unknown): string => (error instanceof Error ? `${error.name}: ${error.message}` : String(error));

/** The first sample for which the function also fails when given only that sample. */
async function culprit(reward: RewardFunction, samples: readonly Sample[]): Promise<number | undefined> {
  if (samples.length === 1) return 0;
  for (const [n, sample] of samples.entries()) {
    try {
      await reward([sample]);
    } catch {
      return n;
    }
  }
  return undefined;
}

async function serve(): Promise<void> {
  const reward = await load();
  if (typeof reward !== 'function')
    return answer({
      kind: 'failed',
      message: 'exports no function; write module.exports = (samples) => samples.map(({ text }) => …)',
    });
  parentPort!.on('message', async (samples: readonly Sample[]) => {
    try {
      const given: unknown = await reward(samples);
      answer({
        kind: 'scores',
        scores:
          ArrayBuffer.isView(given) && !(given instanceof DataView)
            ? Array.from(given as unknown as ArrayLike<unknown>)
            : given,
      });
    } catch (error) {
      answer({ kind: 'failed', message: said(error), place: placeOf(error), sample: await culprit(reward, samples) });
    }
  });
  answer({ kind: 'ready' });
}

serve().catch((error: unknown) =>
  answer({
    kind: 'failed',
    message: `cannot be loaded as a module (${error instanceof Error ? error.message : String(error)})`,
  }),
);
