/** How much time each of TensorFlow's operations takes. */

export interface OpTime {
  /** TensorFlow's name, such as MatMul; `read` where values are copied out. */
  readonly op: string;
  readonly calls: number;
  /**
   * On a GPU, which computes while the next operation is called, only the time of the call; `read` then waits for the
   * rest.
   */
  readonly seconds: number;
}

export interface Profile<Result> {
  readonly result: Result;
  /** Total time. */
  readonly seconds: number;
  /** The slowest first, without tfjs's own operations, which compute the losses. */
  readonly ops: readonly OpTime[];
}

let times: Map<string, { calls: number; seconds: number }> | undefined;

/** Runs `work`, and adds its time to the profile being taken, if any. */
export function timed<Result>(op: string, work: () => Result): Result {
  if (times === undefined) return work();
  const start = performance.now();
  const result = work();
  const time = times.get(op) ?? { calls: 0, seconds: 0 };
  times.set(op, time);
  time.calls += 1;
  time.seconds += (performance.now() - start) / 1000;
  return result;
}

/**
 * Runs `body` and times its operations.
 *
 *     const { ops } = await profile(() => training.next());
 */
export async function profile<Result>(body: () => Result | Promise<Result>): Promise<Profile<Result>> {
  const outer = times;
  const own = (times = new Map<string, { calls: number; seconds: number }>());
  const start = performance.now();
  try {
    const result = await body();
    const ops = [...own].map(([op, time]) => ({ op, ...time })).sort((a, b) => b.seconds - a.seconds);
    return { result, seconds: (performance.now() - start) / 1000, ops };
  } finally {
    times = outer;
  }
}

/** One line per operation: its share, seconds and calls; then a line for everything else, and the total. */
export function profileTable({ seconds, ops }: Pick<Profile<unknown>, 'seconds' | 'ops'>): string {
  const inside = ops.reduce((sum, op) => sum + op.seconds, 0);
  const row = (name: string, time: number, calls = '') =>
    [
      name.padEnd(36),
      `${((100 * time) / seconds).toFixed(1)} %`.padStart(7),
      time.toFixed(3).padStart(9),
      's',
      calls.padStart(9),
    ].join(' ');
  return [
    ...ops.map(({ op, calls, seconds: time }) => row(op, time, `${calls}`)),
    row('everything else', seconds - inside),
    row('in all', seconds),
  ].join('\n');
}
