/** Rules on whether a run learns at all, and how its updates and its validation behave. */
import { ALL, highest, median, noiseOf, short, withoutSetting, type Rule, type Verdict } from './diagnosisRule';
import { BETA } from './dpoOptions';
import { meanOf, type RunRecord } from './runRecord';

/** The loss of a guess between two: -log(1/2). */
const LN2 = Math.LN2;

/** The losses whose slope is the sigmoid of minus the margin. */
export const LOGISTIC = ['sigmoid', 'cdpo', 'robust'];

/** The beta by which the rewards were multiplied, whatever the loss; undefined if the settings are not known. */
export function betaOf(run: RunRecord): number | undefined {
  if (!run.hasSettings) return undefined;
  return run.number('beta') ?? BETA.others;
}

const size = (values: readonly number[]): number => highest(values.map(Math.abs));

const notANumber: Rule = {
  name: 'not-a-number',
  methods: ALL,
  trigger: 'loss or gradient norm is NaN, infinite or missing in a step',
  why: 'one such gradient makes every weight NaN; the trainers stop before that, a loop of your own may not',
  needs: ['loss', 'gradNorm'],
  leastSteps: 1,
  check(run) {
    const wrong = run.steps.flatMap((_, n) =>
      [run.column('loss')[n]!, run.column('gradNorm')[n]!].every(Number.isFinite) ? [] : [n],
    );
    if (wrong.length === 0) return undefined;
    const step = run.steps[wrong[0]!]!;
    return {
      step,
      says:
        `loss or gradient norm is not a number in ${wrong.length} of ${run.steps.length} steps, ` +
        `first in step ${step}`,
      figures: { steps: wrong.length },
      advice: 'lower lr or lengthen the warm-up; check the rows of that step',
    };
  },
};

const stuck: Rule = {
  name: 'stuck',
  methods: ['dpo', 'kto', 'reward'],
  trigger: 'at the end the margin is within 0.01 of 0 (reward model: the loss is above ln 2 - 0.05)',
  why: 'a margin of 0.01 lowers the loss by 0.005, and ln 2 is the loss of a guess between two',
  needs: ['margin', 'loss', 'lr', 'gradNorm'],
  leastSteps: 10,
  check(run) {
    const name = run.text('loss') ?? LOGISTIC[0]!;
    if (name === 'sft') return { unchecked: 'the loss sft trains no margin' };
    const [margin, loss] = [run.last('margin'), run.last('loss')];
    if (run.method === 'reward' ? loss < LN2 - 0.05 : !(Math.abs(margin) < 0.01)) return undefined;
    const { cause, advice, figures = {} } = causeOfStuck(run);
    const at = run.method === 'kto' || !LOGISTIC.includes(name) ? '' : `, ln 2 being ${LN2.toFixed(4)}`;
    return {
      step: run.steps[0]!,
      says:
        `after ${run.steps.length} steps the margin is ${short(margin)} and the loss ` +
        `${loss.toFixed(4)}${at}: ${cause}`,
      figures: { margin, loss, ...figures },
      advice,
    };
  },
};

interface Cause {
  readonly cause: string;
  readonly advice: string;
  readonly figures?: Readonly<Record<string, number>>;
}

/** The likeliest cause that the metrics show, from the most certain to the most general. */
function causeOfStuck(run: RunRecord): Cause {
  const lr = size(run.column('lr'));
  const gradNorm = median(run.column('gradNorm'));
  if (lr === 0)
    return {
      cause: 'the learning rate was 0 in every step',
      advice: 'give an lr above 0 and a warm-up shorter than the run',
    };
  const [chosen, rejected] = [run.column('logps/chosen'), run.column('logps/rejected')];
  if (chosen.length > 0 && run.method === 'dpo' && chosen.every((value, n) => Math.abs(value - rejected[n]!) < 1e-4))
    return {
      cause: 'chosen and rejected have the same log-prob in every step, so the two responses are the same',
      advice: 'look at the rows with "npx alignbook data FILE"',
    };
  if (gradNorm < 1e-7)
    return {
      cause: `the gradient is 0 (its norm is ${short(gradNorm)})`,
      advice: 'check that chosen and rejected differ, and that "frozen" leaves weights to train',
      figures: { gradNorm },
    };
  const rewards = size([...run.column('chosen'), ...run.column('rejected')]);
  const beta = betaOf(run);
  if (run.method !== 'reward' && beta !== undefined) {
    if (rewards / beta < 1e-4 && lr >= 1e-6)
      return {
        cause:
          `policy and reference give equal log-probs in every step, with a gradient norm of ` +
          `${short(gradNorm)}: the reference moves along`,
        advice: 'give another object as reference, or its log-probs computed before the training',
        figures: { rewards, gradNorm },
      };
    const nats = run.last('margin') / beta;
    if (Math.abs(nats) >= 1)
      return {
        cause: `chosen has gained ${short(nats)} nats on rejected, which a beta of ${short(beta)} makes a small margin`,
        advice: 'raise beta to 0.1 or so, if the loss is to show what is learned',
        figures: { nats, beta },
      };
  }
  if (run.method !== 'reward' && rewards >= 0.05)
    return {
      cause:
        `the rewards have moved by up to ${short(rewards)}, chosen and rejected alike: the pairs ` +
        `contradict each other, or each label is as often wrong as right`,
      advice: 'check that "chosen" is the better response in your rows',
      figures: { rewards },
    };
  const [what, advice] =
    run.method === 'reward'
      ? ['the scores do not tell chosen from rejected', 'check the labels; then raise lr, or train longer']
      : ['the weights have hardly moved', 'raise lr tenfold, or train longer; freeze fewer weights'];
  return {
    cause: `with a learning rate of at most ${short(lr)} and a gradient norm of ${short(gradNorm)} ${what}`,
    advice,
    figures: { lr, gradNorm },
  };
}

const lossRises: Rule = {
  name: 'loss-rises',
  methods: ['sft', 'dpo', 'kto', 'reward'],
  trigger:
    'at the end the training loss is above that of the beginning by 0.1, by a tenth, and by three standard errors',
  why:
    'large batches differ by less than the first two, small ones by less than the third, which comes from the mean ' +
    'difference of neighboring steps; such a rise comes from steps that are too large',
  needs: ['loss', 'lr'],
  leastSteps: 10,
  check(run) {
    const [first, last] = [run.first('loss'), run.last('loss')];
    const error = noiseOf(run.column('loss')) * Math.sqrt(2 / run.part);
    const limit = first + Math.max(0.1, 0.1 * first, 3 * error);
    if (!(last > limit)) return undefined;
    const risen = run.moving('loss').findIndex((loss) => loss > limit);
    const lr = size(run.column('lr'));
    return {
      step: run.endOf(risen),
      says: `the training loss rose from ${short(first)} to ${short(last)}, with a learning rate of up to ${short(lr)}`,
      figures: { first, last, standardError: error, lr },
      advice: 'lower lr to a third or a tenth, or lengthen the warm-up',
    };
  },
};

const CLIPPED_ADVICE = {
  sft: '',
  reward: '',
  dpo: 'lower beta, or ',
  kto: 'lower beta, or ',
  ppo: 'lower valueCoef, set whitenRewards to false, or ',
  grpo: 'lower the scale of the scores, or ',
  'online-dpo': 'lower beta, or ',
} as const;

const clipped: Rule = {
  name: 'gradients-clipped',
  methods: ALL,
  trigger:
    'the gradient norm is above maxGradNorm in every step, and at the end on average above ten times that and above ' +
    'half of what it was at the beginning',
  why:
    'AdamW is indifferent to a constant factor, so cutting a little is harmless, and gradients are long where a ' +
    'model first meets its data, and then shorten; at the end, this much means that one term of the loss or a few ' +
    'rows dominate',
  needs: ['gradNorm'],
  leastSteps: 10,
  check(run) {
    const limit = run.number('maxGradNorm');
    if (limit === undefined) return withoutSetting('maxGradNorm');
    const norms = run.column('gradNorm');
    const last = run.last('gradNorm');
    if (limit === 0 || !norms.every((norm) => norm > limit)) return undefined;
    if (!(last > Math.max(10 * limit, run.first('gradNorm') / 2))) return undefined;
    return {
      step: run.steps[0]!,
      says:
        `the gradients were clipped to ${short(limit)} in each of ${norms.length} steps; at the end their norm was ` +
        short(last),
      figures: { maxGradNorm: limit, last },
      advice: `${CLIPPED_ADVICE[run.method!]}look for rows that are unlike the others`,
    };
  },
};

const validationParts: Rule = {
  name: 'validation-parts',
  methods: ['sft', 'dpo', 'kto', 'reward'],
  trigger: "the validation's loss has risen from its lowest by 0.02 and by a tenth, while the training loss fell",
  why: 'smaller rises are within the noise of a few hundred rows; a rise while the training loss falls is memorizing',
  needs: ['loss', 'validation/loss'],
  leastSteps: 5,
  check(run): Verdict {
    const column = run.column('validation/loss');
    const at = column.flatMap((loss, n) => (Number.isNaN(loss) ? [] : [n]));
    if (at.length < 3) return { unchecked: 'it takes three validations' };
    const best = at.reduce((low, n) => (column[n]! < column[low]! ? n : low));
    const [lowest, last] = [column[best]!, column[at.at(-1)!]!];
    const then = meanOf(run.column('loss').slice(Math.max(0, best - run.part + 1), best + 1));
    const now = run.last('loss');
    if (last < lowest + Math.max(0.02, 0.1 * lowest) || !(now < then)) return undefined;
    const step = run.steps[best]!;
    return {
      step,
      says:
        `since step ${step} the validation's loss rose from ${short(lowest)} to ${short(last)}, while the training ` +
        `loss fell from ${short(then)} to ${short(now)}`,
      figures: { lowest, last, trainingThen: then, trainingNow: now },
      advice: 'train fewer steps, keep the best ones with bestBy or patience, or use more rows',
    };
  },
};

export const learningRules: readonly Rule[] = [notANumber, stuck, lossRises, clipped, validationParts];
