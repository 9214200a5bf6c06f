/** The metrics of a run as columns, one value per step: what the rules of a diagnosis read. */
import { InputError } from '../errors';
import { average } from '../moments';
import { withDefaults, type Settings } from './declare';
import { dpoSettings } from './dpoOptions';
import { grpoSettings } from './grpoOptions';
import { ktoSettings } from './ktoOptions';
import { onlineDpoSettings } from './onlineDpoOptions';
import { ppoSettings } from './ppoOptions';
import { rewardSettings } from './rewardOptions';
import { SampledAnswers } from './sampledAnswers';
import { sftSettings } from './sftOptions';
import { flat } from './stepNumbers';

const TRAINERS = {
  sft: sftSettings,
  dpo: dpoSettings,
  kto: ktoSettings,
  reward: rewardSettings,
  ppo: ppoSettings,
  grpo: grpoSettings,
  'online-dpo': onlineDpoSettings,
} as const satisfies Record<string, Settings>;

export type Method = keyof typeof TRAINERS;
export const METHODS = Object.keys(TRAINERS) as Method[];

/** Metrics that have the same meaning in several trainers, and the name that each gives them. */
const SHARED = {
  margin: { dpo: 'rewards/margins', kto: 'rewards/margins', reward: 'margin', 'online-dpo': 'rewards/margins' },
  accuracy: { dpo: 'rewards/accuracies', reward: 'accuracy', 'online-dpo': 'rewards/accuracies' },
  chosen: { dpo: 'rewards/chosen', kto: 'rewards/chosen', 'online-dpo': 'rewards/chosen' },
  rejected: { dpo: 'rewards/rejected', kto: 'rewards/rejected', 'online-dpo': 'rewards/rejected' },
  score: { ppo: 'objective/scores', grpo: 'scores/mean', 'online-dpo': 'scores/mean' },
  kl: { kto: 'kl', ppo: 'objective/kl', grpo: 'sequenceKl', 'online-dpo': 'sequenceKl' },
  undecided: { grpo: 'scores/equalGroups', 'online-dpo': 'ties' },
  clipFraction: { ppo: 'policy/clipFraction', grpo: 'clipFraction' },
} as const satisfies Record<string, Partial<Record<Method, string>>>;

/** A metric by the name that several trainers share, or by its own, such as `validation/loss`. */
export type Metric = keyof typeof SHARED | (string & {});

/** The most metrics of a step: no trainer has a tenth of them, and each takes memory in every step. */
const MOST_METRICS = 200;
/** Steps whose mean stands for the beginning or the end of a run: a tenth of them, from three to a hundred. */
const PART = { fraction: 0.1, least: 3, most: 100 } as const;

export class RunRecord {
  /** The numbers of the steps, in ascending order. */
  readonly steps: number[] = [];
  /** Steps that were recorded again later, as after a resumed run; only their last record counts. */
  repeated = 0;
  /** The answers that were sampled beside the steps. */
  readonly answers = new SampledAnswers();
  readonly #columns = new Map<string, number[]>();
  #settings: Readonly<Record<string, unknown>> | undefined;

  /**
   * Adds a step's metrics. A number that is missing or null (as JSON has it for NaN) becomes NaN.
   *
   * @throws InputError if the line is not that of a step.
   */
  add(line: object): void {
    const { step } = line as { step?: unknown };
    if (typeof step !== 'number' || !Number.isInteger(step) || step < 1)
      throw new InputError('has no "step" from 1 up, so it is not a line of metrics.jsonl');
    this.#dropFrom(step);
    const before = this.steps.length;
    this.steps.push(step);
    for (const [name, value] of flat(line)) {
      if (name === 'step') continue;
      if (!this.#columns.has(name)) {
        if (this.#columns.size === MOST_METRICS)
          throw new InputError(`has more than ${MOST_METRICS} metrics, so it is not a line of metrics.jsonl`);
        this.#columns.set(
          name,
          Array.from({ length: before }, () => NaN),
        );
      }
      this.#columns.get(name)!.push(value);
    }
    for (const column of this.#columns.values()) if (column.length === before) column.push(NaN);
  }

  #dropFrom(step: number): void {
    const kept = this.steps.findLastIndex((earlier) => earlier < step) + 1;
    this.repeated += this.steps.length - kept;
    this.steps.length = kept;
    for (const column of this.#columns.values()) column.length = kept;
  }

  /** The trainer whose metrics these are; undefined if they are no trainer's. */
  get method(): Method | undefined {
    const has = (name: string): boolean => this.#columns.has(name);
    if (has('objective/kl')) return 'ppo';
    if (has('scores/groupDeviation')) return 'grpo';
    if (has('ties')) return 'online-dpo'; // in a run of ties alone, the rewards are null in the file
    if (has('rewards/accuracies')) return 'dpo';
    if (has('accuracy') && has('margin')) return 'reward';
    // a batch of KTO may have responses of one kind only
    if (has('kl') && (has('rewards/chosen') || has('rewards/rejected'))) return 'kto';
    return has('loss') && has('gradNorm') && has('tokens') ? 'sft' : undefined;
  }

  /** The settings of the run; its trainer's defaults apply where one is missing. */
  set settings(given: Readonly<Record<string, unknown>>) {
    this.#settings = this.method && withDefaults(given, TRAINERS[this.method] as Settings);
  }

  /** Whether the settings of the run are known. */
  get hasSettings(): boolean {
    return this.#settings !== undefined;
  }

  /** A setting that is a number; undefined if the run's settings are not known or have none of this name. */
  number(setting: string): number | undefined {
    const value = this.#settings?.[setting];
    return typeof value === 'number' ? value : undefined;
  }

  /** The product of those settings that the trainer has. */
  product(...settings: readonly string[]): number {
    const factors = settings.map((setting) => this.number(setting)).filter((factor) => factor !== undefined);
    return factors.reduce((product, factor) => product * factor, 1);
  }

  /** A setting that is a text. */
  text(setting: string): string | undefined {
    const value = this.#settings?.[setting];
    return typeof value === 'string' ? value : undefined;
  }

  /** Sampled answers per step; undefined for a trainer that samples none, or if the settings are not known. */
  get samples(): number | undefined {
    if (!this.hasSettings || !['ppo', 'grpo', 'online-dpo'].includes(this.method!)) return undefined;
    return (this.method === 'online-dpo' ? 2 : 1) * this.product('batchSize', 'groupSize');
  }

  /** A metric's values, one per step, NaN where there is none; empty if the run does not have it. */
  column(metric: Metric): readonly number[] {
    const names: Partial<Record<Method, string>> | undefined = Object.hasOwn(SHARED, metric)
      ? SHARED[metric as keyof typeof SHARED]
      : undefined;
    return this.#columns.get(names === undefined ? metric : (names[this.method!] ?? '')) ?? [];
  }

  has(metric: Metric): boolean {
    return this.column(metric).some((value) => !Number.isNaN(value));
  }

  /** How many steps `first` and `last` average over. */
  get part(): number {
    const { length } = this.steps;
    return Math.min(length, PART.most, Math.max(PART.least, Math.ceil(PART.fraction * length)));
  }

  /** The mean of a metric in the first `part` steps; NaN if it has no value there. */
  first(metric: Metric): number {
    return meanOf(this.column(metric).slice(0, this.part));
  }

  /** The same in the last `part` steps. */
  last(metric: Metric): number {
    return meanOf(this.column(metric).slice(-this.part));
  }

  /** The mean of a metric over each run of `part` consecutive steps; the n-th ends with the step `endOf(n)`. */
  moving(metric: Metric): number[] {
    const { part } = this;
    const column = this.column(metric);
    return column.slice(part - 1).map((_, n) => meanOf(column.slice(n, n + part)));
  }

  /** The step with which the n-th mean of `moving` ends. */
  endOf(n: number): number {
    return this.steps[this.part - 1 + n]!;
  }
}

/** The mean of the values that are numbers. */
export const meanOf = (values: readonly number[]): number => average(values.filter((value) => !Number.isNaN(value)));
