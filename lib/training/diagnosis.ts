/** Finds what is unusual in a run, by rules on the metrics of its steps. */
import { InputError } from '../errors';
import { answerRules } from './answerRules';
import type { Finding, Rule } from './diagnosisRule';
import { learningRules } from './learningRules';
import { preferenceRules } from './preferenceRules';
import { ratioRules } from './ratioRules';
import { RunRecord, type Method } from './runRecord';
import { samplingRules } from './samplingRules';

/** All rules, in the order in which they are reported. */
export const diagnosisRules: readonly Rule[] = [
  ...learningRules,
  ...preferenceRules,
  ...samplingRules,
  ...ratioRules,
  ...answerRules,
];

export interface Diagnosis {
  readonly method: Method;
  /** Number of steps. */
  readonly steps: number;
  readonly findings: readonly Finding[];
  /** Names of the rules that found nothing. */
  readonly fine: readonly string[];
  /** Rules that could not tell, with the reason. */
  readonly unchecked: readonly { readonly rule: string; readonly reason: string }[];
}

/**
 * Looks for what commonly goes wrong in the steps of a training, as `trainDpo` and the other trainers yield them.
 *
 *     showDiagnosis(diagnose(history, options));
 *
 * @param history the steps, in order; the trainer is recognized by its metrics.
 * @param options those of the training. Without them, rules that need a setting, such as beta, cannot tell.
 * @throws InputError if there are no steps, or they are no trainer's.
 */
export function diagnose(history: Iterable<object>, options?: object): Diagnosis {
  const record = new RunRecord();
  for (const step of history) record.add(step);
  if (options !== undefined) record.settings = { ...options };
  return diagnoseRecord(record);
}

export function diagnoseRecord(record: RunRecord): Diagnosis {
  const { method, steps } = record;
  if (steps.length === 0) throw new InputError('there are no steps to diagnose');
  if (method === undefined)
    throw new InputError(
      'the steps have no metrics of a trainer; give those of train-sft, -dpo, -kto, -reward, -ppo, -grpo or ' +
        '-online-dpo',
    );
  const findings: Finding[] = [];
  const fine: string[] = [];
  const unchecked: { rule: string; reason: string }[] = [];
  for (const rule of diagnosisRules) {
    if (!rule.methods.includes(method)) continue;
    const { name } = rule;
    const missing = rule.needs.find((metric) => !record.has(metric));
    const verdict =
      missing !== undefined
        ? { unchecked: `there is no ${missing}` }
        : steps.length < rule.leastSteps
          ? { unchecked: `it takes ${rule.leastSteps} steps` }
          : rule.check(record);
    if (verdict === undefined) fine.push(name);
    else if ('unchecked' in verdict) unchecked.push({ rule: name, reason: verdict.unchecked });
    else findings.push({ rule: name, ...verdict });
  }
  return { method, steps: steps.length, findings, fine, unchecked };
}
