/** Rules on the ratio of the policy to the one that sampled, and on its clipping: PPO, GRPO and RLOO. */
import { CLIPPING, hasNotMoved, highest, short, withoutSetting, type Rule } from './diagnosisRule';
import type { RunRecord } from './runRecord';

const UNMOVED = 'the policy has not moved';

/** Whether a rollout serves a single update, before which the ratio is 1; undefined if that is not known. */
const hasOneUpdate = (run: RunRecord): boolean | undefined =>
  run.hasSettings ? run.product('ppoEpochs', 'minibatches', 'iterations') === 1 : undefined;

const ratioOne: Rule = {
  name: 'ratio-one',
  methods: ['ppo'],
  trigger: 'the variance of the ratio is below 1e-8 in every step',
  why:
    'the log-probs of sampling and of the update differ by float32 rounding alone, which gives ' +
    'variances around 1e-13',
  needs: ['ratio/variance', 'kl'],
  leastSteps: 3,
  check(run) {
    const variance = highest(run.column('ratio/variance'));
    if (!(variance < 1e-8)) return undefined;
    if (hasNotMoved(run)) return { unchecked: UNMOVED };
    const one = hasOneUpdate(run);
    return {
      step: run.steps[0]!,
      says:
        `the ratio of policy and sampling policy never leaves 1 (variance at most ${short(variance)})` +
        (one === true ? ', because each rollout serves one update: clipRange has no effect' : ''),
      figures: { variance },
      advice:
        one === true
          ? 'give ppoEpochs or minibatches above 1, or leave it: this is the policy gradient without clipping'
          : 'check that ppoEpochs or minibatches is above 1, that lr is not too low, and that the old ' +
            'log-probs are not measured again before each update',
    };
  },
};

const neverClipped: Rule = {
  name: 'never-clipped',
  methods: CLIPPING,
  trigger: 'no token is clipped in any step, although a rollout serves several updates',
  why: 'in the healthy runs some tokens are clipped in every step (0.1 to 1 %); without any the steps are small',
  needs: ['clipFraction', 'kl'],
  leastSteps: 5,
  check(run) {
    if (highest(run.column('clipFraction')) > 0) return undefined;
    if (hasNotMoved(run)) return { unchecked: UNMOVED };
    const one = hasOneUpdate(run);
    if (one === undefined) return withoutSetting('number of updates per rollout');
    if (one) return { unchecked: 'each rollout serves one update, in which nothing can be clipped' };
    return {
      step: run.steps[0]!,
      says: `the clip fraction is 0 in all ${run.steps.length} steps: no ratio has left the clip range`,
      figures: { clipFraction: 0 },
      advice: 'raise lr or the number of updates per rollout, unless score and KL already rise as they should',
    };
  },
};

const mostlyClipped: Rule = {
  name: 'mostly-clipped',
  methods: CLIPPING,
  trigger: 'the clip fraction is above a half, on average over three steps in a row or more',
  why:
    'more than half of the tokens then give no gradient: the updates of one rollout go further ' +
    'than its samples reach',
  needs: ['clipFraction'],
  leastSteps: 3,
  check(run) {
    const moving = run.moving('clipFraction');
    const at = moving.findIndex((fraction) => fraction > 0.5);
    if (at < 0) return undefined;
    const step = run.endOf(at);
    const most = highest(moving);
    return {
      step,
      says: `the clip fraction is above a half by step ${step}, and ${short(most)} at its highest`,
      figures: { clipFraction: most },
      advice: `lower lr or ${run.method === 'ppo' ? 'ppoEpochs' : 'iterations'}, or widen a narrow clipRange`,
    };
  },
};

export const ratioRules: readonly Rule[] = [ratioOne, neverClipped, mostlyClipped];
