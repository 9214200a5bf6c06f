/**
 * How a step of check.ts speaks: a JSON line for each thing that it has seen. Python's side is in values.py and
 * times.py.
 */

export type Verdict = 'ok' | 'FAILED' | 'seen';

export interface Seen {
  readonly line: string;
  readonly verdict: Verdict;
}

/** What one contender took for one task of step 5. */
export interface Timed {
  readonly name: string;
  readonly contender: string;
  readonly seconds: readonly number[];
  /** Of the first repetition after the warm-up, to be compared with the others'. */
  readonly result: unknown;
  /** Of the card, since the process began; null where it cannot be told. */
  readonly megabytes: number | null;
  /** Floating-point operations a second that the card's fastest product reaches; from Python. */
  readonly peak?: number;
}

const write = (value: object): void => void process.stdout.write(`${JSON.stringify(value)}\n`);

export const seen = (line: string, verdict: Verdict = 'seen'): void => write({ line, verdict });

/** Ok where it holds. */
export const checked = (line: string, holds: boolean): void => seen(line, holds ? 'ok' : 'FAILED');

export const timed = (value: Timed): void => write({ timed: value });

/**
 * Runs a step: what it throws is seen, too; what it leaves running, such as a compiler that watches files, ends with
 * it.
 */
export function step(main: () => Promise<void>): void {
  main()
    .catch((error: Error) => seen(`ended early: ${error.stack}`, 'FAILED'))
    .finally(() => process.stdout.write('', () => process.exit()));
}
