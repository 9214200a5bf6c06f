/** Rules on answers, by the metrics of PPO and GRPO or by the answers that other trainings sample. */
import { average } from '../moments';
import { ALL, SAMPLING, short, type Rule, type Verdict } from './diagnosisRule';
import type { Method, RunRecord } from './runRecord';
import type { AnswerFigure, StepFigures } from './sampledAnswers';

/** A reward model gives no answers. */
type Answering = Exclude<Method, 'reward'>;
const ANSWERING = ALL.filter((method): method is Answering => method !== 'reward');

const NO_ANSWERS = 'no sampled answers are recorded';
/** Fewer sampled answers decide nothing. */
const LEAST_ANSWERS = 20;

/** A value and its step. */
interface Recorded {
  readonly step: number;
  readonly value: number;
}

/** A figure of the answers at the beginning and at the end of a run, and in each step that has it. */
interface Course {
  readonly first: number;
  readonly last: number;
  readonly values: readonly Recorded[];
}

/** The course of a metric: its ends are means over a tenth of its values, at least three each if there are six. */
function courseOf(run: RunRecord, column: readonly number[]): Course | { readonly unchecked: string } {
  const values = column.flatMap((value, n) => (Number.isNaN(value) ? [] : [{ step: run.steps[n]!, value }]));
  if (values.length === 0) return { unchecked: NO_ANSWERS };
  const count = Math.max(1, Math.min(Math.max(3, Math.ceil(values.length / 10)), Math.floor(values.length / 2)));
  const mean = (some: readonly Recorded[]): number => average(some.map(({ value }) => value));
  return { first: mean(values.slice(0, count)), last: mean(values.slice(-count)), values };
}

/** The course of sampled answers, from those before the first step to the last ones. */
function sampledCourse(run: RunRecord, figure: AnswerFigure): Course | { readonly unchecked: string } {
  const [before, ...later] = run.answers.of(figure);
  if (before === undefined) return { unchecked: NO_ANSWERS };
  const last = later.at(-1) ?? before;
  if (last.values.length < LEAST_ANSWERS) return { unchecked: 'too few sampled answers' };
  if (before.step !== 0) return { unchecked: 'no answers from before the first step are recorded' };
  if (last === before) return { unchecked: 'no answers from after the first step are recorded' };
  if (before.values.length < LEAST_ANSWERS) return { unchecked: 'too few sampled answers' };
  const meanOf = ({ values }: StepFigures): number => average(values);
  return {
    first: meanOf(before),
    last: meanOf(last),
    values: later.map((figures) => ({ step: figures.step, value: meanOf(figures) })),
  };
}

const SAMPLED_END = 'raise maxNewTokens, lower lr, or take fewer steps';
const REWARDED_END =
  'raise maxNewTokens, give missingEosPenalty, and check that the model was trained on responses with their end token';
const END_ADVICE: Readonly<Record<Answering, string>> = {
  sft: `${SAMPLED_END}; check that the responses in the data are whole`,
  dpo: `${SAMPLED_END}; check that the chosen responses are whole`,
  kto: `${SAMPLED_END}; check that the desirable responses are whole`,
  ppo: REWARDED_END,
  grpo: REWARDED_END,
  'online-dpo': REWARDED_END,
};

const percentage = (fraction: number): string => (fraction === 0 ? 'none' : `${Number((100 * fraction).toFixed(1))} %`);

const noEnd: Rule = {
  name: 'no-end',
  methods: ANSWERING,
  trigger:
    'at the end fewer than 5 % of the answers end by themselves (PPO and GRPO: none, if the number of samples is not ' +
    'known; the others: at least 20 answers are sampled, and a quarter of them ended before the first step)',
  why:
    'an answer that is cut off at maxNewTokens is not finished; PPO and GRPO score it as if it were whole, and the ' +
    'end is not learned. That none of 20 sampled answers ends, where 5 did before, is chance in 2 % of cases',
  needs: [],
  leastSteps: 1,
  check(run): Verdict {
    const isOfMetrics = run.has('eosCount');
    const course = isOfMetrics ? courseOf(run, endedFractions(run)) : sampledCourse(run, 'ended');
    if ('unchecked' in course) return course;
    const { first, last, values } = course;
    if (!isOfMetrics && !(first >= 0.25))
      return { unchecked: 'fewer than a quarter of the sampled answers ended before the training' };
    if (!(last < 0.05)) return undefined;
    const { step } = values.find(({ value }) => value < 0.05)!;
    const most = run.number('maxNewTokens');
    const limit = most === undefined ? 'the maximum length' : `maxNewTokens, ${most}`;
    const before = isOfMetrics ? '' : `; before the training ${percentage(first)} did`;
    return {
      step,
      says:
        `${percentage(last)} of the last answers end by themselves, the others at ${limit} (first in step ${step})` +
        before,
      figures: { ended: last, ...(!isOfMetrics && { before: first }) },
      advice: END_ADVICE[run.method as Answering],
    };
  },
};

/** The fraction of answers that ended by themselves in each step; of an unknown number of samples, 0 for none. */
function endedFractions(run: RunRecord): readonly number[] {
  const { samples } = run;
  return run.column('eosCount').map((count) => (samples === undefined ? Math.sign(count) : count / samples));
}

const REWARDED_LENGTH = 'read the long ones; give lengthPenalty, or a reward that does not pay for length';
const LENGTH_ADVICE: Readonly<Record<Answering, string>> = {
  sft: 'read the long ones, and compare their length with that of the responses in the data',
  dpo:
    'read the long ones; if chosen is mostly the longer response ("npx alignbook data FILE" says so), use pairs of ' +
    'equal length, or the loss sigmoid_norm',
  kto: 'read the long ones, and compare the lengths of desirable and undesirable responses',
  ppo: REWARDED_LENGTH,
  grpo: REWARDED_LENGTH,
  'online-dpo': REWARDED_LENGTH,
};

const longer: Rule = {
  name: 'answers-lengthen',
  methods: ANSWERING,
  trigger:
    'at the end the answers are twice as long as at the beginning (except for PPO and GRPO: at least 20 sampled ' +
    'answers, compared with those before the first step)',
  why: 'rewards often prefer length as such, and a policy finds that out soon (arXiv 2310.03716)',
  needs: [],
  leastSteps: 5,
  check(run): Verdict {
    const isOfMetrics = SAMPLING.includes(run.method!);
    const course = isOfMetrics ? courseOf(run, run.column('tokens')) : sampledCourse(run, 'tokens');
    if ('unchecked' in course) return course;
    const { first, last, values } = course;
    if (!(last > 2 * first)) return undefined;
    const count = isOfMetrics ? run.samples : 1;
    const { step } = values.find(({ value }) => value > 2 * first)!;
    const lengths =
      count === undefined
        ? `by a factor of ${short(last / first)}`
        : `from ${short(first / count)} to ${short(last / count)} tokens`;
    return {
      step,
      says: `the answers have grown ${lengths}`,
      figures: { factor: last / first },
      advice: LENGTH_ADVICE[run.method as Answering],
    };
  },
};

export const answerRules: readonly Rule[] = [noEnd, longer];
