/** The tasks of step 5, and what their times say. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { cases, type Case } from '../bench/cases';
import { inputsOf, smaller } from '../bench/inputs';
import { near } from '../bench/near';
import { median, minimum } from '../bench/worker';
import type { Timed } from './report';
import type { NamedTask } from './times';

const caseOf = (name: string): Case => cases.find((one) => one.name === name)!;
const batch8 = caseOf('generate, batch 8');
const CASES: readonly Case[] = [
  ...['dpo, 4 pairs', 'dpo, 16 pairs', 'dpo, 4 pairs, long prompts', 'score, 250 pairs', 'generate, batch 1'].map(
    caseOf,
  ),
  batch8,
  { ...batch8, name: 'generate, batch 64', prompts: [64, 32] },
];
const KINDS: Readonly<Record<string, NamedTask['kind']>> = {
  'oursDpo.js': 'dpo',
  'oursScore.js': 'score',
  'ours.js': 'generate',
};

/** Losses after AdamW's first steps, and sums of log-probs, in fp32. */
const TOLERANCE = 1e-3;

/** @param small sizes that a CPU computes in seconds. */
export async function tasksFor(model: string, small: boolean): Promise<NamedTask[]> {
  const chosen = small
    ? CASES.filter(({ name }) => ['dpo, 4 pairs', 'score, 250 pairs', 'generate, batch 8'].includes(name)).map(smaller)
    : CASES;
  return Promise.all(
    chosen.map(async (one) => ({
      ...(await inputsOf(one, model)),
      ...one.work,
      policy: 'fp32' as const,
      name: one.name,
      kind: KINDS[one.ours]!,
    })),
  );
}

/**
 * Floating-point operations of a step of DPO: products with the weights, forward and backward, of each prompt once;
 * attention's are left out.
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
      : `; ${(minimum(seconds) / minimum(beside.seconds)).toFixed(2)}x of ours (${(median(seconds) / median(beside.seconds)).toFixed(2)}x)`;
  return `${policy} ${name.padEnd(28)} ${contender.padEnd(16)} ${own}${megabytes === null ? '' : `, ${megabytes.toFixed(0)} MB`}${ratio}`;
}

/** @returns undefined where they agree, or what each computed. */
export function disagreement(ours: Timed, theirs: Timed, kind: NamedTask['kind']): string | undefined {
  if (near(theirs.result, ours.result, kind === 'generate' ? 0 : TOLERANCE)) return undefined;
  const text = ({ result }: Timed) => JSON.stringify(result).slice(0, 200);
  return `${ours.name}: ${theirs.contender} computed ${text(theirs)}, ours ${text(ours)}`;
}
