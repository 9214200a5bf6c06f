/** Metrics of a model's greedy answers to prompts that it is not trained on. */
import { InputError, oneLine, plural, quoted } from '../errors';
import { average } from '../moments';
import { greedySamples, type AnswerInputs } from './answers';
import { isValidated } from './options';
import { atStep, requireScores } from './rewards';
import type { Sample } from './rollout';

/** A prompt that is not trained on. */
export interface HeldOutRow {
  /** Token ids. */
  readonly promptIds: readonly number[];
  /** Responses that are right, without end-of-sequence token; needed by `exactMatch`. */
  readonly expected?: readonly string[] | undefined;
}

/** An answer to such a prompt. */
export interface HeldOutSample extends Sample {
  readonly expected?: readonly string[] | undefined;
}

/** One number for each answer; its mean over the answers is logged. Every `Reward` is such a metric. */
export type AnswerMetric = (samples: readonly HeldOutSample[]) => readonly number[] | Promise<readonly number[]>;

/** 1 for an answer that is one of the expected responses, else 0; white space around either does not count. */
export const exactMatch: AnswerMetric = (samples) =>
  samples.map(({ text, expected = [] }) => (expected.some((right) => right.trim() === text.trim()) ? 1 : 0));

/** Tokens of an answer, including its end-of-sequence token. */
export const answerLength: AnswerMetric = (samples) => samples.map(({ ids }) => ids.length);

/**
 * 1 for an answer in which the pattern, a JavaScript regular expression, occurs, else 0.
 *
 * @throws InputError if it is not a regular expression.
 */
export function regexMatch(pattern: string): AnswerMetric {
  let expression: RegExp;
  try {
    expression = new RegExp(pattern, 'u');
  } catch (cause) {
    throw new InputError(
      `${quoted(pattern)} is not a regular expression (${oneLine(cause)}); write it as in JavaScript, without slashes`,
      { cause },
    );
  }
  return (samples) => samples.map(({ text }) => (expression.test(text) ? 1 : 0));
}

export interface AnswerEvaluation extends Omit<AnswerInputs, 'prompts'> {
  readonly rows: readonly HeldOutRow[];
  /** The metrics by the names that they get in the result. */
  readonly metrics: Readonly<Record<string, AnswerMetric>>;
  /** The step of the training, for messages. */
  readonly step?: number | undefined;
}

/**
 * Answers every prompt once, greedily, and averages each metric over the answers.
 *
 * @throws InputError if there are no rows, or a metric does not give a finite number for each answer; the reason of
 *   `signal` if it is aborted while the model answers.
 */
export async function evaluateAnswers({
  rows,
  metrics,
  step,
  ...inputs
}: AnswerEvaluation): Promise<Record<string, number>> {
  if (rows.length === 0) throw new InputError('there are no held-out prompts to answer');
  const made = await greedySamples({ ...inputs, prompts: rows.map(({ promptIds }) => promptIds) });
  const samples = made.map((sample, n): HeldOutSample => ({ ...sample, expected: rows[n]!.expected }));
  const measure = async (): Promise<[string, number][]> => {
    const found: [string, number][] = [];
    for (const [name, metric] of Object.entries(metrics))
      found.push([name, average(requireScores(await metric(samples), samples, name))]);
    return found;
  };
  return Object.fromEntries(await (step === undefined ? measure() : atStep(step, measure)));
}

/**
 * The steps of any training, with the metrics of held-out answers in `validation`, beside what the trainer measures,
 * after every `validateEvery` steps and after the last. In this form `Best` finds them.
 */
export async function* withAnswerMetrics<Step extends { readonly step: number; readonly validation?: object }>(
  training: AsyncIterable<Step>,
  {
    validateEvery,
    steps,
    ...inputs
  }: Omit<AnswerEvaluation, 'step'> & { readonly validateEvery: number; readonly steps: number },
): AsyncGenerator<Step, void> {
  for await (const event of training) {
    const { step, validation } = event;
    yield isValidated(step, { validateEvery, steps })
      ? { ...event, validation: { ...validation, ...(await evaluateAnswers({ ...inputs, step })) } }
      : event;
  }
}

/** @throws InputError if `exactMatch` is asked for and a row has no expected response. */
export function requireExpected(rows: readonly HeldOutRow[]): void {
  const missing = rows.filter(({ expected }) => expected === undefined || expected.length === 0).length;
  if (missing > 0)
    throw new InputError(
      `exactMatch: ${plural(missing, 'held-out row')} of ${rows.length} have no response to compare with; ` +
        'give rows with a response, or another metric',
    );
}
