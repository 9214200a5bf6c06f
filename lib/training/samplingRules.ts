/** Rules on rollouts: the distance from the reference, and the scores. PPO, GRPO, RLOO and online DPO. */
import { CLIPPING, hasNotMoved, highest, noiseOf, SAMPLING, short, type Rule, type Verdict } from './diagnosisRule';
import { meanOf } from './runRecord';

const unmoved: Rule = {
  name: 'policy-stays',
  methods: SAMPLING,
  trigger: 'the KL to the reference stays within 0.001 nats of 0',
  why: 'a healthy run is at some 0.02 nats after one step; float32 rounding alone gives 1e-6',
  needs: ['kl', 'lr', 'gradNorm'],
  leastSteps: 5,
  check(run) {
    const kl = highest(run.column('kl').map(Math.abs));
    if (!hasNotMoved(run)) return undefined;
    const [lr, gradNorm] = [highest(run.column('lr')), highest(run.column('gradNorm'))];
    const equal = run.first('undecided');
    const [cause, advice] =
      lr === 0
        ? ['the learning rate was 0', 'give an lr above 0']
        : equal === 1
          ? [
              run.method === 'grpo' ? 'all answers to a prompt have the same score' : 'all pairs are ties',
              'use a reward or a judge that tells answers apart',
            ]
          : gradNorm < 1e-7
            ? ['the gradient is 0', 'use a reward that tells answers apart, and check "frozen"']
            : [
                `the learning rate is at most ${short(lr)}`,
                'raise lr tenfold, or check that the reward tells answers apart',
              ];
    return {
      step: run.steps[0]!,
      says:
        `after ${run.steps.length} steps the policy is still its reference, the KL at most ` +
        `${short(kl)} nats: ${cause}`,
      figures: { kl, lr, gradNorm },
      advice,
    };
  },
};

const klNegative: Rule = {
  name: 'kl-negative',
  methods: CLIPPING,
  trigger: 'the KL of a sequence is below -1 nat in a step',
  why:
    'a KL is never negative, and its estimate only by chance if the samples come from the policy ' +
    "that is measured; TRL's former PPOTrainer warned at the same figure",
  needs: ['kl'],
  leastSteps: 1,
  check(run) {
    const kls = run.column('kl');
    const at = kls.findIndex((kl) => kl < -1);
    if (at < 0) return undefined;
    const lowest = -highest(kls.map((kl) => -kl));
    return {
      step: run.steps[at]!,
      says:
        `the KL to the reference is ${short(kls[at]!)} nats in step ${run.steps[at]!}, and ` +
        `${short(lowest)} at its lowest`,
      figures: { kl: kls[at]!, lowest },
      advice:
        'measure both log-probs at the temperature of the sampling, sample without top-k or top-p, ' +
        'and check that the samples are those of this policy',
    };
  },
};

const klExplodes: Rule = {
  name: 'kl-explodes',
  methods: SAMPLING,
  trigger:
    'at the end the KL is above half a nat per token (20 nats a sequence, if the number of samples is not known)',
  why:
    "twice the target of OpenAI's lm-human-preferences, 6 nats for answers of 24 tokens; so far " +
    'away, a reward is asked about answers that it was not made for',
  needs: ['kl', 'tokens'],
  leastSteps: 3,
  check(run) {
    const { samples } = run;
    const tokens = run.column('tokens');
    // in nats per token, or per answer
    const distances = run.column('kl').map((kl, n) => (samples === undefined ? kl : (kl * samples) / tokens[n]!));
    const most = samples === undefined ? 20 : 0.5;
    const last = meanOf(distances.slice(-run.part));
    if (!(last > most)) return undefined;
    const at = distances.findIndex((distance) => distance > most);
    const kl = run.last('kl');
    const each = samples === undefined ? '' : `, ${short(last)} per token`;
    return {
      step: run.steps[at]!,
      says:
        `the KL to the reference has grown to ${short(kl)} nats an answer${each}; it was too high ` +
        `from step ${run.steps[at]!} on`,
      figures: { kl, ...(samples !== undefined && { perToken: last }) },
      advice:
        `raise ${run.method === 'ppo' ? 'klCoef' : 'beta'}, lower lr, or stop earlier; read some ` +
        `answers, because their score may be gamed`,
    };
  },
};

const scoreFalls: Rule = {
  name: 'score-falls',
  methods: SAMPLING,
  trigger:
    'at the end the mean score is below that of the first step by more than three standard errors, and by more than ' +
    'half of the way to the lowest score',
  why:
    'the error comes from the mean difference of neighboring steps, so that a trend hardly counts as noise, nor a ' +
    'single jump; where most scores are equal, that difference is small, and one low step is no fall',
  needs: ['score'],
  leastSteps: 10,
  check(run) {
    const scores = run.column('score');
    const [first, last] = [scores[0]!, run.last('score')];
    const lowest = -highest(scores.map((score) => -score));
    const error = noiseOf(scores) * Math.sqrt(1 + 1 / run.part);
    if (!(first - last > Math.max(3 * error, (first - lowest) / 2))) return undefined;
    return {
      step: run.steps.at(-run.part)!,
      says: `the mean score fell from ${short(first)} in the first step to ${short(last)} at the end`,
      figures: { first, last, standardError: error },
      advice: 'lower lr, and check that KL or a penalty does not outweigh the scores',
    };
  },
};

const equalGroups: Rule = {
  name: 'equal-groups',
  methods: ['grpo', 'online-dpo'],
  trigger:
    'at the end the answers of more than half of the groups have equal scores (online DPO: more than half of the ' +
    'pairs are ties)',
  why: 'such a group has no advantages, so less than half of the samples still teach (arXiv 2503.14476, section 3.2)',
  needs: ['undecided'],
  leastSteps: 3,
  check(run): Verdict {
    const last = run.last('undecided');
    if (!(last > 0.5)) return undefined;
    const column = run.column('undecided');
    const step = run.steps[column.findIndex((fraction) => fraction > 0.5)]!;
    if (run.method === 'online-dpo')
      return {
        step,
        says:
          `at the end ${(100 * last).toFixed(0)} % of the pairs are ties (first above half in step ${step}), so ` +
          'nothing is learned from them',
        figures: { ties: last, inconsistent: run.last('inconsistent'), failed: run.last('failed') },
        advice:
          'read judgements.jsonl; where the two orders disagree, use a judge that reads better or a clearer ' +
          'question, else harder prompts, a finer reward, or a higher temperature',
      };
    return {
      step,
      says:
        `at the end ${(100 * last).toFixed(0)} % of the groups have answers of equal score (first ` +
        `above half in step ${step}), so nothing is learned from them`,
      figures: { equalGroups: last, score: run.last('score') },
      advice:
        'use harder prompts or ones that are not solved yet, a finer reward, a larger groupSize, or ' +
        'a higher temperature',
    };
  },
};

export const samplingRules: readonly Rule[] = [unmoved, klNegative, klExplodes, scoreFalls, equalGroups];
