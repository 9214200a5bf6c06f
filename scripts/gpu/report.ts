/** How a step of check.ts reports: one JSON line for each result. Python's side is in values.py and times.py. */

export type Verdict = 'ok' | 'FAILED' | 'seen';

export interface Seen {
  readonly line: string;
  readonly verdict: Verdict;
}

/** The time that one contender took for one task of step 5. */
export interface Timed {
  readonly name: string;
  readonly contender: string;
  readonly seconds: readonly number[];
  /** The result of the first repetition after the warm-up, to be compared with the others'. */
  readonly result: unknown;
  /** Memory in use on the card since the process began; null if it is unknown. */
  readonly megabytes: number | null;
  /** Floating-point operations per second of the card's fastest product; measured in Python. */
  readonly peak?: number;
}

const write = (value: object): void => void process.stdout.write(`${JSON.stringify(value)}\n`);

export const seen = (line: string, verdict: Verdict = 'seen'): void => write({ line, verdict });

/** Reports ok if `holds` is true, FAILED if not. */
export const checked = (line: string, holds: boolean): void => seen(line, holds ? 'ok' : 'FAILED');

export const timed = (value: Timed): void => write({ timed: value });

/**
 * Runs a step. Reports the error if it throws, and ends whatever it leaves running, such as a compiler that watches
 * files.
 */
export function step(main: () => Promise<void>): void {
  main()
    .catch((error: Error) => seen(`ended early: ${error.stack}`, 'FAILED'))
    .finally(() => process.stdout.write('', () => process.exit()));
}
