/** A reward that a user's JavaScript module computes. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';

import { FileError, InputError, oneLine, plural, quoted } from '../errors';
import { requireScores, type Reward } from '../training/rewards';
import type { Sample } from '../training/rollout';
import type { Answer, Task } from './rewardWorker';

/** Milliseconds after which a call that has not returned is reported, once per call. */
const PATIENCE = 60_000;

export interface RewardFunctionOptions {
  /** Stops waiting for a call that does not return, with the signal's reason as the error. */
  readonly signal?: AbortSignal | undefined;
  /** Receives a sentence saying that the function has not returned. */
  readonly tell: (text: string) => void;
  readonly patience?: number;
  /** What the function is called in messages. Default: reward. */
  readonly name?: string;
}

/** A reward function with the thread that it runs in. Dispose of it after use. */
export interface LoadedReward extends Disposable {
  readonly reward: Reward;
}

/**
 * Loads a JavaScript module whose `module.exports` or default export takes samples and returns a list with one number
 * each, or a promise of it. The function runs in its own thread: even if it throws, rejects, never returns or ends the
 * process, the training can still save its last step.
 *
 * @throws FileError, now or when a reward is computed, naming the file, the line and the sample.
 */
export async function loadRewardFunction(
  path: string,
  { signal, tell, patience = PATIENCE, name = 'reward' }: RewardFunctionOptions,
): Promise<LoadedReward> {
  if (!existsSync(path)) throw new FileError(path, 'is not there; give the file of a JavaScript module');
  const worker = new Worker(join(__dirname, 'rewardWorker.js'), { workerData: { path } satisfies Task });
  // The thread may end between two calls, when nothing is waiting for an answer; the next call reports it.
  let ended: FileError | undefined;
  worker.on(
    'error',
    (cause: Error) =>
      (ended ??= new FileError(
        path,
        `the ${name} function ended with an error that it did not handle: ${oneLine(cause)}`,
        { cause },
      )),
  );
  worker.on(
    'exit',
    (code) =>
      (ended ??= new FileError(
        path,
        `the ${name} function ended the process (process.exit(${code})); throw an error instead`,
      )),
  );
  const asking = (ask: () => void, most = patience) =>
    answerOf(worker, path, ask, { signal, tell, patience: most, name, ended: () => ended });
  const dispose = () => void worker.terminate();
  try {
    const first = await asking(() => undefined, Math.max(patience, PATIENCE)); // loading may take longer than a call
    if (first.kind === 'failed') throw new FileError(path, oneLine(first.message));
  } catch (error) {
    dispose();
    throw error;
  }
  worker.unref(); // between two calls, it must not keep a finished command alive
  const reward: Reward = async (samples) => {
    worker.ref();
    const answer = await asking(() => worker.postMessage(samples)).finally(() => worker.unref());
    if (answer.kind === 'failed')
      throw new FileError(
        path,
        `the ${name} function failed${answer.place === undefined ? '' : ` in line ${answer.place}`}, ` +
          `on ${named(samples, answer.sample)}: ${oneLine(answer.message)}`,
      );
    try {
      return requireScores(answer.kind === 'scores' ? answer.scores : undefined, samples, name);
    } catch (cause) {
      throw cause instanceof InputError ? new FileError(path, cause.message, { cause }) : cause;
    }
  };
  return { reward, [Symbol.dispose]: dispose };
}

const named = (samples: readonly Sample[], sample: number | undefined): string =>
  sample === undefined ? `${plural(samples.length, 'sample')}` : `sample ${sample}, ${quoted(samples[sample]!.text)}`;

function answerOf(
  worker: Worker,
  path: string,
  ask: () => void,
  {
    signal,
    tell,
    patience,
    name,
    ended,
  }: Required<Pick<RewardFunctionOptions, 'tell' | 'patience' | 'name'>> &
    Pick<RewardFunctionOptions, 'signal'> & { ended: () => FileError | undefined },
): Promise<Answer> {
  const before = ended();
  if (before !== undefined) return Promise.reject(before);
  return new Promise((resolve, reject) => {
    const late = setTimeout(
      () =>
        tell(
          `${path}: the ${name} function has not returned for ${Math.round(patience / 1000)} s; ` +
            'Ctrl-C saves the last step and ends',
        ),
      patience,
    );
    const settled =
      <Value>(act: (value: Value) => void) =>
      (value: Value) => {
        clearTimeout(late);
        worker.off('message', onMessage).off('error', onEnd).off('exit', onEnd);
        signal?.removeEventListener('abort', onAbort);
        act(value);
      };
    const onMessage = settled<Answer>(resolve);
    const onEnd = settled<unknown>(() => reject(ended()!));
    const onAbort = settled<Event>(() => reject(signal!.reason as Error));
    worker.once('message', onMessage).once('error', onEnd).once('exit', onEnd);
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted) onAbort(new Event('abort'));
    else ask();
  });
}
