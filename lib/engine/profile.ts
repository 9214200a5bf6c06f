/** Where the time goes, by TensorFlow's operations. */

export interface OpTime {
  /** TensorFlow's name of it, such as MatMul; `read` for values that are copied out. */
  readonly op: string;
  readonly calls: number;
  /**
   * On a GPU, which works on while the next operation is called: until it was called. `read` then waits for the rest.
   */
  readonly seconds: number;
}

export interface Profile<Result> {
  readonly result: Result;
  /** In all. */
  readonly seconds: number;
  /** The longest first. tfjs's own, of which the losses are made, are not among them. */
  readonly ops: readonly OpTime[];
}

let times: Map<string, { calls: number; seconds: number }> | undefined;

/** Runs `work`, and counts its time if a profile is being taken. */
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

/** A line for each operation: its share, seconds and calls; the last for what is none of them. */
export function profileTable({ seconds, ops }: Pick<Profile<unknown>, 'seconds' | 'ops'>): string {
  const inside = ops.reduce((sum, op) => sum + op.seconds, 0);
  const row = (name: string, time: number, calls = '') =>
    `${name.padEnd(36)} ${`${((100 * time) / seconds).toFixed(1)} %`.padStart(7)} ${time.toFixed(3).padStart(9)} s ${calls.padStart(9)}`;
  return [
    ...ops.map(({ op, calls, seconds: time }) => row(op, time, `${calls}`)),
    row('everything else', seconds - inside),
    row('in all', seconds),
  ].join('\n');
}
