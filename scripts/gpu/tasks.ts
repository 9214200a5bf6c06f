/** What the times of step 5 mean. This file does not load the library, which would take a part of the card. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { median, minimum, near } from '../bench/worker';
import type { Timed } from './report';
import type { NamedTask } from './times';

/** The tolerance for losses after AdamW's first steps, and for sums of log-probs, in fp32. */
const TOLERANCE = 1e-3;

/**
 * Floating-point operations of a DPO step: products with the weights, forward and backward, counting each prompt once;
 * those of attention are left out.
 */
export function operations({ pairs }: NamedTask, model: string): number {
  const {
    n_layer: L,
    n_embd: C,
    vocab_size: V,
  } = JSON.parse(readFileSync(join(model, 'config.json'), 'utf8')) as Record<string, number>;
  const responses = pairs.reduce((sum, { chosenIds, rejectedIds }) => sum + chosenIds.length + rejectedIds.length, 0);
  const tokens = pairs.reduce((sum, { promptIds }) => sum + promptIds.length, responses);
  return 3 * (tokens * L! * 24 * C! ** 2 + responses * 2 * C! * V!);
}

const amount = (seconds: number): string =>
  seconds < 0.1 ? `${(1000 * seconds).toFixed(2)} ms` : `${seconds.toFixed(3)} s`;

export function timeLine(
  policy: string,
  { name, contender, seconds, megabytes }: Timed,
  beside: Timed | undefined,
): string {
  const own = `${amount(minimum(seconds))}, median ${amount(median(seconds))} of ${seconds.length}`;
  const ratio =
    beside === undefined
      ? ''
      : `; ${(minimum(seconds) / minimum(beside.seconds)).toFixed(2)}x of ours ` +
        `(${(median(seconds) / median(beside.seconds)).toFixed(2)}x)`;
  return (
    `${policy} ${name.padEnd(28)} ${contender.padEnd(16)} ` +
    `${own}${megabytes === null ? '' : `, ${megabytes.toFixed(0)} MB`}${ratio}`
  );
}

/** @returns undefined if they agree, otherwise what each computed. */
export function disagreement(ours: Timed, theirs: Timed, kind: NamedTask['kind']): string | undefined {
  if (kind === 'generate' ? mostlyEqual(ours.result, theirs.result) : near(theirs.result, ours.result, TOLERANCE)) {
    return undefined;
  }
  const text = ({ result }: Timed) => JSON.stringify(result).slice(0, 200);
  return `${ours.name}: ${theirs.contender} computed ${text(theirs)}, ours ${text(ours)}`;
}

/**
 * Compares rows of ids. Among many rows, a few reach two logits that are equal in float32, and differ from there on.
 * Step 3 is stricter.
 */
function mostlyEqual(ours: unknown, theirs: unknown): boolean {
  const [one, other] = [ours, theirs] as [number[][], number[][]];
  const equal = one.filter((row, n) => near(row, other[n], 0)).length;
  return one.length === other.length && equal >= 0.9 * one.length;
}
