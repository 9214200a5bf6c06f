/**
 * Compares the steps of a handed-over run with alignbook's own: the greatest difference of each figure, and its bound.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { FileError, InputError, plural } from '../errors';
import { readJsonObject } from '../formats/jsonFile';

export type HandoffKind = 'dpo' | 'sft' | 'reward';

/**
 * How a difference is measured: as an absolute value, relative to alignbook's value, or relative only if that value is
 * above 1.
 */
type Measure = 'absolute' | 'relative' | 'relative above 1';

interface Figure {
  /** The name in train.py's logs, which comes from transformers or TRL. */
  readonly theirs: string;
  /** The path in alignbook's metrics, separated by dots. */
  readonly ours: string;
  readonly measure: Measure;
  /** Two to ten times the greatest difference observed between the two float32 engines; see docs/distributed.md. */
  readonly bound: number;
}

const figure = (theirs: string, ours: string, measure: Measure, bound: number): Figure => ({
  theirs,
  ours,
  measure,
  bound,
});
const LR = figure('learning_rate', 'lr', 'relative', 1e-12);

const FIGURES: Readonly<Record<HandoffKind, readonly Figure[]>> = {
  dpo: [
    figure('loss', 'loss', 'relative above 1', 1e-5),
    figure('grad_norm', 'gradNorm', 'relative', 1e-4),
    LR,
    figure('logps/chosen', 'logps.chosen', 'relative', 1e-5),
    figure('logps/rejected', 'logps.rejected', 'relative', 1e-5),
    figure('rewards/chosen', 'rewards.chosen', 'absolute', 5e-5),
    figure('rewards/rejected', 'rewards.rejected', 'absolute', 5e-5),
    figure('rewards/margins', 'rewards.margins', 'absolute', 5e-5),
    figure('rewards/accuracies', 'rewards.accuracies', 'absolute', 1e-6),
  ],
  sft: [
    figure('loss', 'loss', 'relative above 1', 1e-5),
    figure('grad_norm', 'gradNorm', 'relative', 1e-3),
    LR,
    figure('mean_token_accuracy', 'meanTokenAccuracy', 'absolute', 1e-6),
  ],
  reward: [
    figure('loss', 'loss', 'absolute', 5e-5),
    figure('grad_norm', 'gradNorm', 'relative', 1e-4),
    LR,
    figure('margin', 'margin', 'absolute', 5e-5),
    figure('accuracy', 'accuracy', 'absolute', 1e-6),
  ],
};

/**
 * Rounding of a response's summed log-prob in float32, relative to it: four times the greatest difference seen between
 * the two engines (2.5e-7, at 1,800 nats).
 */
const ROUNDING = 1e-6;
/** Margin below which rounding alone decides which answer of a pair has the higher reward. */
const TIE = 1e-5;

export interface Difference {
  readonly figure: string;
  readonly greatest: number;
  /** The step with the greatest difference. */
  readonly step: number;
  readonly measure: Measure;
  /** The bound at that step: rewards and losses of long responses get more room, see `roundingOf`. */
  readonly bound: number;
  readonly passes: boolean;
}

export interface Comparison {
  /** How train.py ran, such as "2 processes, MULTI_CPU, gloo". */
  readonly how: string;
  readonly steps: number;
  readonly differences: readonly Difference[];
  /** Sentences that say what was not compared, and why. */
  readonly skipped: readonly string[];
  readonly passes: boolean;
}

interface Trajectory {
  readonly id: string;
  readonly how: {
    readonly processes: number;
    readonly distributedType: string;
    readonly backend: string | null;
    readonly accumulate: number;
    readonly mixedPrecision: string;
  };
  readonly steps: readonly Readonly<Record<string, unknown>>[];
}

/**
 * Compares a trajectory with the steps that alignbook itself took.
 *
 * @param path trajectory.json, as written by train.py.
 * @param folder the handed-over folder, which contains run.json and expected.jsonl.
 * @throws FileError if a file cannot be read, is incomplete, or belongs to another run.
 */
export function compareTrajectory(path: string, folder: string): Comparison {
  const { id: own, kind, compare, settings } = readRun(folder);
  const expected = readSteps(join(folder, 'expected.jsonl'));
  if (expected.length !== compare)
    throw new FileError(
      join(folder, 'expected.jsonl'),
      `has ${expected.length} of ${plural(compare, 'step')}; write the folder again with handoff`,
    );
  const { how, steps, id } = readTrajectory(path);
  if (id !== own)
    throw new FileError(
      path,
      `belongs to another run than ${folder}; give the trajectory that this folder's train.py wrote`,
    );
  if (steps.length < expected.length)
    throw new FileError(path, `has ${steps.length} of ${plural(expected.length, 'step')}; let train.py finish them`);

  const skipped: string[] = [];
  const differences = FIGURES[kind].flatMap((one): Difference[] => {
    if (one.theirs === 'mean_token_accuracy' && how.accumulate > 1) {
      skipped.push(`${one.theirs}: TRL averages it over accumulated parts, whatever their tokens`);
      return [];
    }
    const ties = isAccuracy(one) ? expected.filter((step) => isTie(step, settings)).length : 0;
    if (ties > 0)
      skipped.push(`${one.theirs} at ${ties} ${ties === 1 ? 'step' : 'steps'}: the margin is 0 but for rounding`);
    const found = differenceOf(one, expected, steps, { path, settings });
    return found ? [found] : [];
  });
  const backend = how.backend === null ? '' : `, ${how.backend}`;
  const precision = how.mixedPrecision === 'no' ? '' : `, ${how.mixedPrecision}`;
  const parts = how.accumulate > 1 ? `, ${how.accumulate} accumulated parts` : '';
  return {
    how:
      `${how.processes} process${how.processes === 1 ? '' : 'es'}, ` +
      `${how.distributedType}${backend}${precision}${parts}`,
    steps: expected.length,
    differences,
    skipped,
    passes: differences.every(({ passes }) => passes),
  };
}

type Step = Readonly<Record<string, unknown>>;

interface RunSettings {
  readonly batchSize: number;
  /** DPO only. */
  readonly beta?: number;
}

/** How far rounding alone can move DPO's rewards, and the loss with them: beta times that of the log-probs. */
function roundingOf(step: Step, { beta = 0 }: RunSettings): number {
  const logps = [valueAt(step, 'logps.chosen'), valueAt(step, 'logps.rejected')];
  return beta * ROUNDING * logps.reduce<number>((sum, logp) => sum + Math.abs(logp ?? 0), 0);
}

/** The bound of a figure at a step. */
function boundOf(one: Figure, step: Step, settings: RunSettings): number {
  const { theirs, bound } = one;
  if (isAccuracy(one)) return 1 / settings.batchSize + bound; // one tied pair
  return theirs === 'loss' || theirs.startsWith('rewards/') ? Math.max(bound, roundingOf(step, settings)) : bound;
}

function differenceOf(
  one: Figure,
  expected: readonly Step[],
  steps: readonly Step[],
  { path, settings }: { path: string; settings: RunSettings },
): Difference | undefined {
  let worst: { difference: number; bound: number; step: number } | undefined;
  for (const [n, own] of expected.entries()) {
    const ours = valueAt(own, one.ours);
    if (ours === undefined || (isAccuracy(one) && isTie(own, settings))) continue;
    const theirs = steps[n]![one.theirs] ?? NaN; // train.py writes null for NaN and infinities
    if (typeof theirs !== 'number' || !Object.hasOwn(steps[n]!, one.theirs))
      throw new FileError(path, `step ${n + 1} has no ${one.theirs}; was it edited?`);
    const scale = { absolute: 1, relative: Math.abs(ours) || 1, 'relative above 1': Math.max(1, Math.abs(ours)) };
    const difference = Math.abs(theirs - ours) / scale[one.measure];
    const bound = boundOf(one, own, settings);
    const found = { difference: Number.isNaN(difference) ? Infinity : difference, bound, step: n + 1 };
    if (!worst || found.difference / bound > worst.difference / worst.bound) worst = found;
  }
  if (!worst) return undefined;
  const { difference: greatest, bound, step } = worst;
  return { figure: one.theirs, greatest, step, measure: one.measure, bound, passes: greatest <= bound };
}

const isAccuracy = ({ ours }: Figure): boolean => /accurac/.test(ours) && ours !== 'meanTokenAccuracy';

function isTie(step: Step, settings: RunSettings): boolean {
  const margin = valueAt(step, 'rewards.margins') ?? valueAt(step, 'margin');
  return margin !== undefined && Math.abs(margin) < Math.max(TIE, roundingOf(step, settings));
}

function valueAt(step: Step, path: string): number | undefined {
  let value: unknown = step;
  for (const name of path.split('.'))
    value = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
  return typeof value === 'number' ? value : undefined;
}

function readSteps(path: string): Step[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new FileError(path, `cannot be read (${(cause as Error).message})`, { cause });
  }
  return text
    .split('\n')
    .filter(Boolean)
    .map((line, n) => {
      try {
        return JSON.parse(line) as Step;
      } catch (cause) {
        throw new FileError(path, `line ${n + 1} is not JSON; write the folder again with handoff`, { cause });
      }
    });
}

function readRun(folder: string): { id: string; kind: HandoffKind; compare: number; settings: RunSettings } {
  const path = join(folder, 'run.json');
  if (!existsSync(path)) throw new FileError(folder, 'has no run.json; give the folder that handoff made');
  const { id, kind, compare, settings } = readJsonObject(path) as Record<string, unknown>;
  if (kind === 'grpo')
    throw new FileError(
      path,
      'is of GRPO, whose samples depend on the number of processes; there is nothing to compare',
    );
  const batchSize = (settings as { batchSize?: unknown } | undefined)?.batchSize;
  if (typeof id !== 'string' || !Object.hasOwn(FIGURES, String(kind)) || !compare || typeof batchSize !== 'number')
    throw new FileError(path, 'was not written by handoff; give the folder that it made');
  return { id, kind: kind as HandoffKind, compare: compare as number, settings: settings as RunSettings };
}

function readTrajectory(path: string): Trajectory {
  const json = readJsonObject(path);
  const { id, how, steps } = json as Partial<Trajectory>;
  const isRecord = (value: unknown): boolean => typeof value === 'object' && value !== null;
  const describes =
    [how?.processes, how?.accumulate].every((value) => typeof value === 'number') &&
    [how?.distributedType, how?.mixedPrecision].every((value) => typeof value === 'string');
  if (typeof id !== 'string' || !describes || !Array.isArray(steps) || !steps.every(isRecord))
    throw new FileError(path, 'is not a trajectory of train.py');
  const place = steps.findIndex((step, n) => (step as { step?: unknown }).step !== n + 1);
  if (place >= 0) throw new FileError(path, `has another step in the place of step ${place + 1}; was it edited?`);
  return json as unknown as Trajectory;
}

/** Formats the comparison as lines of text, including a table. */
export function comparisonText({ how, steps, differences, skipped, passes }: Comparison): string {
  if (differences.length === 0) throw new InputError('nothing was compared');
  const rows = differences.map((one) => [
    one.figure,
    one.greatest.toExponential(1),
    String(one.step),
    `${one.bound.toExponential(0)} ${one.measure}`,
    one.passes ? '' : 'BEYOND ITS BOUND',
  ]);
  const table = [['figure', 'greatest difference', 'at step', 'bound', ''], ...rows];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)));
  const lines = table.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd(),
  );
  return [
    how,
    ...lines,
    ...skipped.map((sentence) => `not compared: ${sentence}`),
    passes
      ? `the first ${steps === 1 ? 'step is' : `${steps} steps are`} the same within the bounds`
      : 'the steps differ: see the lines marked above',
  ].join('\n');
}
