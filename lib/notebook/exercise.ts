/** Checks a reader's answer to an exercise, and says what is wrong without failing. */
import { InputError } from '../errors';
import { tf } from '../tf';

/** One call of the reader's function. */
export interface ExerciseCase<Arguments extends readonly unknown[]> {
  readonly args: Arguments;
  /** The right value: a number, text, boolean, null, or lists of these. A tensor counts as its `arraySync()`. */
  readonly wanted: unknown;
  /** What the right answer does here, for whoever has another value. */
  readonly because: string;
}

/** Numbers may differ by this much of their size (of 1, if that is more): float32 against arithmetic by hand. */
const TOLERANCE = 1e-4;
const DIGITS = 6;

/**
 * Prints `passes` if each call gives what is wanted, else `not yet: …` with the first call that does not. It never
 * throws what the reader's code throws, so a notebook with unsolved exercises runs to its end.
 *
 *     exercise('double', double, [{ args: [2], wanted: 4, because: 'twice 2 is 4' }]);
 *
 * @param name of the function, for the message.
 * @throws InputError if there is no case.
 */
export function exercise<Arguments extends readonly unknown[]>(
  name: string,
  answer: (...args: Arguments) => unknown,
  cases: readonly ExerciseCase<Arguments>[],
): void {
  if (cases.length === 0) throw new InputError('an exercise needs at least one case to check');
  const found = cases.map((one) => complaint(name, answer, one)).find((text) => text !== undefined);
  console.log(found === undefined ? 'passes' : `not yet: ${found}`);
}

function complaint<Arguments extends readonly unknown[]>(
  name: string,
  answer: (...args: Arguments) => unknown,
  { args, wanted, because }: ExerciseCase<Arguments>,
): string | undefined {
  const call = `${name}(${args.map(written).join(', ')})`; // as it was, if the answer changes its arguments
  const about = (verb: string, value: string) =>
    [call, `  ${verb.padEnd(11)}${value}`, `  should be  ${written(wanted)}`, `  because    ${because}`].join('\n');
  try {
    const got = plain(answer(...args));
    return equal(got, plain(wanted)) ? undefined : about('is', written(got));
  } catch (error) {
    return about('throws', written(error instanceof Error ? error.message : String(error)));
  }
}

/** Tensors and typed arrays as lists. */
function plain(value: unknown): unknown {
  if (value instanceof tf.Tensor) return value.arraySync();
  return ArrayBuffer.isView(value) && !(value instanceof DataView) ? Array.from(value as Float32Array) : value;
}

function equal(got: unknown, wanted: unknown): boolean {
  if (typeof got === 'number' && typeof wanted === 'number')
    return (
      Object.is(got, wanted) ||
      (Number.isFinite(wanted) && Math.abs(got - wanted) <= TOLERANCE * Math.max(1, Math.abs(wanted)))
    );
  if (Array.isArray(got) && Array.isArray(wanted))
    return got.length === wanted.length && wanted.every((value, n) => equal(got[n], value));
  return got === wanted;
}

function written(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(written).join(', ')}]`;
  if (typeof value === 'number') return `${Number(value.toPrecision(DIGITS))}`;
  return typeof value === 'string' ? JSON.stringify(value) : String(value);
}
