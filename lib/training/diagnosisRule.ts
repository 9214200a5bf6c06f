/** What a rule of a diagnosis is, and the words that the rules share. */
import { largest } from '../ranges';
import { meanOf, METHODS, type Method, type Metric, type RunRecord } from './runRecord';

/** Something unusual in a run. */
export interface Finding {
  /** The name of its rule. */
  readonly rule: string;
  /** The first step that shows it. */
  readonly step: number;
  /** What the metrics show, with their numbers. */
  readonly says: string;
  /** The same numbers by name. */
  readonly figures: Readonly<Record<string, number>>;
  /** What to try. */
  readonly advice: string;
}

/** undefined if nothing is unusual; `unchecked` is the reason why a rule cannot tell. */
export type Verdict = Omit<Finding, 'rule'> | { readonly unchecked: string } | undefined;

export interface Rule {
  readonly name: string;
  readonly methods: readonly Method[];
  /** When the rule applies, in words. */
  readonly trigger: string;
  /** Why the threshold is where it is, with its source. */
  readonly why: string;
  /** Metrics that it reads; it cannot tell without one of them. */
  readonly needs: readonly Metric[];
  /** Fewer steps show too little. */
  readonly leastSteps: number;
  readonly check: (run: RunRecord) => Verdict;
}

export const ALL: readonly Method[] = METHODS;
export const SAMPLING: readonly Method[] = ['ppo', 'grpo', 'online-dpo'];
/** Those whose updates clip the ratio, and whose log-probs are those of the sampling. */
export const CLIPPING: readonly Method[] = ['ppo', 'grpo'];

/** The reason why a rule that needs a setting cannot tell. */
export const withoutSetting = (name: string): Verdict => ({ unchecked: `the run's ${name} is not known` });

/** A number for a sentence: three significant digits. */
export function short(value: number): string {
  if (value === 0 || !Number.isFinite(value)) return `${value}`;
  const size = Math.abs(value);
  if (size >= 1000) return value.toFixed(0);
  return size >= 1e-3 ? `${Number(value.toPrecision(3))}` : value.toExponential(1);
}

export function median(values: readonly number[]): number {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

/**
 * The standard deviation of the noise in values that may also follow a trend: from the mean difference of neighbors,
 * which for independent normal values is 2 / sqrt(pi) standard deviations. A trend adds little, a jump counts once.
 */
export const noiseOf = (values: readonly number[]): number =>
  (meanOf(values.slice(1).map((value, n) => Math.abs(value - values[n]!))) * Math.sqrt(Math.PI)) / 2;

/** The largest of the values that are numbers. */
export const highest = (values: readonly number[]): number => largest(values.filter((value) => !Number.isNaN(value)));

/** Whether a policy has stayed at its reference: its KL never left 0 by 0.001 nats. */
export const hasNotMoved = (run: RunRecord): boolean => highest(run.column('kl').map(Math.abs)) < 1e-3;
