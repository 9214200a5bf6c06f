/** Rules on the rewards of chosen and rejected: DPO, its relatives, KTO and reward models. */
import { highest, short, withoutSetting, type Rule } from './diagnosisRule';
import { betaOf, LOGISTIC } from './learningRules';
import { meanOf } from './runRecord';

const saturated: Rule = {
  name: 'saturated',
  methods: ['dpo', 'online-dpo'],
  trigger: 'at the end the margin is above 5',
  why:
    'the slope of the loss, sigmoid(-margin), is then below 1 %: little is left to learn, while ' +
    'the policy goes on leaving its reference',
  needs: ['margin', 'loss'],
  leastSteps: 5,
  check(run) {
    const loss = run.text('loss') ?? LOGISTIC[0]!;
    if (!LOGISTIC.includes(loss)) return { unchecked: `the loss ${loss} has another slope` };
    const margin = run.last('margin');
    if (!(margin > 5)) return undefined;
    const from = run.moving('margin').findIndex((value) => value > 5);
    const step = run.endOf(from);
    const beta = betaOf(run);
    const nats = beta === undefined ? '' : `, ${short(margin / beta)} nats`;
    return {
      step,
      says:
        `by step ${step} the margin was above 5; it ended at ${short(margin)}${nats}, with a loss of ` +
        `${short(run.last('loss'))}`,
      figures: { margin, loss: run.last('loss') },
      advice: 'lower lr, take fewer steps, or raise beta; then look at sampled answers, which the loss does not see',
    };
  },
};

const bothFall: Rule = {
  name: 'both-rewards-fall',
  methods: ['dpo', 'kto', 'online-dpo'],
  trigger: 'at the end both rewards are below -1 nat times beta',
  why:
    'chosen is then less than 1/e as likely as under the reference; what both have lost went to ' +
    'answers that no pair contains (arXiv 2402.13228, 2410.08847)',
  needs: ['chosen', 'rejected'],
  leastSteps: 5,
  check(run) {
    const beta = betaOf(run);
    if (beta === undefined) return withoutSetting('beta');
    const [chosen, rejected] = [run.last('chosen') / beta, run.last('rejected') / beta];
    if (!(chosen < -1 && rejected < -1)) return undefined;
    const from = run.moving('chosen').findIndex((reward) => reward < -beta);
    const step = run.endOf(from);
    return {
      step,
      says:
        `from step ${step} on the chosen responses have become less likely than under the reference: at the end by ` +
        `${short(-chosen)} nats, the rejected ones by ${short(-rejected)} nats`,
      figures: { chosenNats: chosen, rejectedNats: rejected },
      advice:
        run.method === 'dpo'
          ? 'lower lr, take fewer steps, raise beta, or add the log-likelihood of chosen (loss cpo, nllCoef)'
          : 'lower lr, take fewer steps, or raise beta',
    };
  },
};

const chosenFalls: Rule = {
  name: 'chosen-falls',
  methods: ['dpo', 'kto', 'online-dpo'],
  trigger: 'the reward of chosen has fallen by 1 nat times beta from its highest, while the margin rose by as much',
  why:
    'the loss sees only the margin, which also rises where chosen falls more slowly than ' +
    'rejected; means over a tenth of the steps vary by less',
  needs: ['chosen', 'rejected', 'margin'],
  leastSteps: 10,
  check(run) {
    const beta = betaOf(run);
    if (beta === undefined) return withoutSetting('beta');
    const [chosen, margins] = [run.moving('chosen'), run.moving('margin')];
    const top = chosen.indexOf(highest(chosen));
    const fallen = (chosen[top]! - chosen.at(-1)!) / beta;
    const widened = (margins.at(-1)! - margins[top]!) / beta;
    if (!(fallen > 1 && widened > 1)) return undefined;
    const step = run.endOf(top);
    return {
      step,
      says:
        `since step ${step} the reward of chosen fell from ${short(chosen[top]!)} to ${short(chosen.at(-1)!)} ` +
        `(${short(fallen)} nats), while the margin rose from ${short(margins[top]!)} to ${short(margins.at(-1)!)}`,
      figures: { highest: chosen[top]!, last: chosen.at(-1)!, nats: fallen },
      advice: 'stop there, lower lr, or raise beta; sample answers from the model to see what it says instead',
    };
  },
};

const accurateAtOnce: Rule = {
  name: 'accurate-at-once',
  methods: ['dpo', 'reward'],
  trigger: 'the first three updates have an accuracy of at least 98 % and a margin above 1',
  why:
    'a policy that begins as its reference has margins near 0, and a new reward head is right ' +
    'half of the time; any margin above 0 counts as right, so a wide one is asked for as well',
  needs: ['accuracy', 'margin', 'lr'],
  leastSteps: 5,
  check(run) {
    const first = run.column('lr').findIndex((lr) => lr > 0);
    // for DPO the first batch is that of a policy equal to its reference
    const from = first + (run.method === 'dpo' ? 1 : 0);
    const [accuracy, margin] = (['accuracy', 'margin'] as const).map((name) =>
      meanOf(run.column(name).slice(from, from + 3)),
    );
    if (first < 0 || !(accuracy! >= 0.98) || !(margin! > 1)) return undefined;
    const step = run.steps[from]!;
    return {
      step,
      says:
        `in the steps ${step} to ${run.steps[Math.min(from + 2, run.steps.length - 1)]!} the ` +
        `accuracy is already ${(100 * accuracy!).toFixed(0)} %, with a margin of ${short(margin!)}`,
      figures: { accuracy: accuracy!, margin: margin! },
      advice:
        run.method === 'dpo'
          ? 'check that the reference is the model before training, and lr; else something trivial, such ' +
            'as a length or a heading, tells the responses apart'
          : 'check that the model was not trained on these pairs before; else something trivial, such as ' +
            'a length or a heading, tells the responses apart',
    };
  },
};

export const preferenceRules: readonly Rule[] = [saturated, bothFall, chosenFalls, accurateAtOnce];
