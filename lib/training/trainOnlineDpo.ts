/**
 * Online DPO (arXiv 2402.04792, Algorithm 1): each step samples two responses per prompt from the policy, asks which is
 * better, and takes a DPO step on these pairs, as TRL's OnlineDPOTrainer.
 *
 * Departures: a tie teaches nothing, where TRL takes the first response as chosen; and the loss is the mean over the
 * pairs that are decided. The loss ipo takes the log-probs of whole responses, as its paper (arXiv 2310.12036) and
 * TRL's online trainer do; for trainDpo, as for TRL's DPOTrainer, it takes those per token.
 */
import { InputError } from '../errors';
import type { GPT2 } from '../model/gpt2';
import { merged } from '../model/lora';
import type { Weights } from '../model/weights';
import { average } from '../moments';
import type { PairIds } from '../text/batch';
import { requireRoom, requireTraining } from './checks';
import { rangesOf, withDefaults, type DefaultsOf } from './declare';
import { byScores, type Judge, type Winner } from './judge';
import { judgeAll } from './judging';
import { accumulate, stepsLeft, update } from './loop';
import { mean } from './metrics';
import { onlineDpoSettings, type OnlineDpoTrainOptions } from './onlineDpoOptions';
import { randomOf } from './order';
import { referenceLogps, type ReferencedPair } from './reference';
import { atStep, scoreSamples, type Reward } from './rewards';
import { countTokens, inParts, sampleResponses, type Decoder, type Sample } from './rollout';
import type { TrainingState } from './state';
import { pairBackward, type DpoMetrics } from './trainDpo';

/** Two samples of one prompt, and which is better. */
export interface JudgedSamples {
  readonly samples: readonly [Sample, Sample];
  readonly winner: Winner;
  /** Whether the judge's verdict depended on the order. */
  readonly inconsistent: boolean;
  /** Scores after penalties, if a reward decided. */
  readonly scores?: readonly [number, number];
  /** Why the judge gave no verdict. */
  readonly failure?: string;
}

/**
 * The metrics of DPO are means over the pairs that are decided, before the step's update. If none is, `loss` and
 * `gradNorm` are 0, the others NaN, and the weights stay as they are.
 */
export interface OnlineDpoStep extends Pick<DpoMetrics, 'loss' | 'rewards' | 'logps'> {
  /** From 1 up. */
  readonly step: number;
  /** Fraction of the pairs that were not decided. */
  readonly ties: number;
  /** Fraction of the pairs for which the judge's two orders disagreed; part of `ties`. */
  readonly inconsistent: number;
  /** Fraction of the pairs about which the judge gave no verdict; part of `ties`. */
  readonly failed: number;
  /** Means of the scores of all samples, and of chosen minus rejected, if a reward decides. */
  readonly scores?: { readonly mean: number; readonly margin: number };
  /** Mean number of tokens of chosen and of rejected responses. */
  readonly lengths: { readonly chosen: number; readonly rejected: number };
  /** The sum of logp - refLogp over a sample, averaged over all samples, in nats: the KL to the present reference. */
  readonly sequenceKl: number;
  /** How many samples ended by themselves. */
  readonly eosCount: number;
  /** Before clipping. */
  readonly gradNorm: number;
  readonly lr: number;
  /** Sampled tokens. */
  readonly tokens: number;
  readonly seconds: number;
}

export interface OnlineDpoInputs {
  readonly tokenizer: Decoder;
  /** Decides each pair by its texts. Give this or `reward`. */
  readonly judge?: Judge | undefined;
  /** Scores the samples; the higher score is chosen. Give this or `judge`. */
  readonly reward?: Reward | undefined;
  /** Comparisons that the judge is asked about at the same time; one by one if not given. */
  readonly concurrency?: number | undefined;
  /** The first reference. Default: a copy of the policy as it is now. It is not changed, whatever `referenceEvery`. */
  readonly reference?: GPT2;
  /** Where to begin; advanced with each step. The caller saves and disposes of it. Default: a new one. */
  readonly state?: TrainingState;
  /** Called with each step's samples and verdicts. */
  readonly onPairs?: (pairs: readonly JudgedSamples[]) => void;
}

type Settings = OnlineDpoTrainOptions & DefaultsOf<typeof onlineDpoSettings>;

/** A range for each numeric option. */
const RANGES = rangesOf(onlineDpoSettings);

/** @throws InputError for an option that is out of its range, whatever the prompts. */
export function requireOnlineDpoOptions(options: OnlineDpoTrainOptions): void {
  const { batchSize, loss } = withDefaults(options, onlineDpoSettings);
  requireTraining(options, RANGES, batchSize);
  if (loss !== 'sigmoid' && loss !== 'ipo') throw new InputError(`loss must be sigmoid or ipo, got ${String(loss)}`);
}

/**
 * Trains `policy` in place, and yields after each step.
 *
 * @param prompts token ids.
 * @throws InputError if an option or a prompt does not fit, the judge fails, or the loss is no longer a number.
 */
export async function* trainOnlineDpo(
  policy: GPT2,
  prompts: readonly (readonly number[])[],
  options: OnlineDpoTrainOptions,
  inputs: OnlineDpoInputs,
): AsyncGenerator<OnlineDpoStep, void> {
  requireOnlineDpoOptions(options);
  const settings = withDefaults(options, onlineDpoSettings);
  const { maxNewTokens, temperature, suppressTokens, seed, signal, referenceEvery, referenceAlpha } = settings;
  const { tokenizer, state, onPairs } = inputs;
  requireDecider(inputs, settings);
  requireRoom(maxNewTokens, policy.config.blockSize);
  if (state && state.step > 0 && !inputs.reference)
    throw new InputError('a resumed training needs its reference: the policy is no longer the model it began as');
  if (referenceEvery !== undefined && inputs.reference) requireSameShapes(policy, inputs.reference);
  const turns = stepsLeft(policy, settings, { rows: prompts, state });
  const fixed = referenceEvery === undefined ? (inputs.reference ?? merged(policy)) : undefined;
  try {
    for await (const turn of turns) {
      const { training, step, indices } = turn;
      const reference = fixed ?? training.beside(() => merged(inputs.reference ?? policy));
      const sampling = { maxNewTokens, temperature, suppressTokens, signal, samples: 2 };
      const samples = await sampleResponses(
        policy,
        tokenizer,
        prompts,
        { ...sampling, seed: randomOf(seed, step).uint32() },
        indices,
      );
      const pairs = await decided(samples, inputs, settings, step);
      onPairs?.(pairs);
      const taken = onlineDpoUpdate(training, pairs, reference, { ...settings, lr: turn.lr });
      training.step = step;
      if (referenceEvery !== undefined && step % referenceEvery === 0) mixReference(policy, reference, referenceAlpha);

      yield {
        step,
        ...taken,
        ...aboutPairs(pairs),
        lr: turn.lr,
        tokens: countTokens(samples),
        seconds: turn.elapsed(),
      };
    }
  } finally {
    if (!inputs.reference) fixed?.dispose();
  }
}

function requireDecider({ judge, reward }: OnlineDpoInputs, { missingEosPenalty, lengthPenalty }: Settings): void {
  if ((judge === undefined) === (reward === undefined)) throw new InputError('give either a judge or a reward');
  if (judge !== undefined && (missingEosPenalty > 0 || lengthPenalty > 0))
    throw new InputError('missingEosPenalty and lengthPenalty change scores, and a judge gives none; give a reward');
}

/** The samples, two by two, with their verdicts. */
async function decided(
  samples: readonly Sample[],
  { tokenizer, judge, reward, concurrency }: OnlineDpoInputs,
  settings: Settings,
  step: number,
): Promise<JudgedSamples[]> {
  const pairs = inParts(samples, 2) as [Sample, Sample][];
  if (reward !== undefined) {
    const all = inParts(await scoreSamples(samples, reward, { ...settings, step }), 2) as [number, number][];
    return pairs.map((two, n) => ({
      samples: two,
      scores: all[n]!,
      winner: byScores(...all[n]!),
      inconsistent: false,
    }));
  }
  const comparisons = pairs.map(([a, b]) => ({ prompt: tokenizer.decode(a.promptIds), a: a.text, b: b.text }));
  const { bothOrders, signal } = settings;
  const differ = comparisons.filter(({ a, b }) => a !== b); // of two equal texts none is better
  const judged = await atStep(step, () => judgeAll(judge!, differ, { bothOrders, concurrency, signal }));
  const verdicts = new Map(differ.map((comparison, n) => [comparison, judged[n]!]));
  return pairs.map((two, n) => {
    const { winner = 'tie', inconsistent = false, failure } = verdicts.get(comparisons[n]!) ?? {};
    return { samples: two, winner, inconsistent, ...(failure !== undefined && { failure }) };
  });
}

export interface OnlineDpoUpdateOptions extends Pick<
  OnlineDpoTrainOptions,
  'accumulation' | 'maxGradNorm' | 'gradientCheckpointing' | 'loss' | 'beta'
> {
  lr: number;
}

/** Updates the weights once, on the pairs that are decided. @throws InputError if the loss is no longer a number. */
export function onlineDpoUpdate(
  training: TrainingState,
  judged: readonly JudgedSamples[],
  reference: GPT2,
  options: OnlineDpoUpdateOptions,
): Pick<OnlineDpoStep, 'loss' | 'rewards' | 'logps' | 'sequenceKl' | 'gradNorm'> {
  const {
    accumulation,
    maxGradNorm,
    gradientCheckpointing,
    loss: lossName,
    beta,
    lr,
  } = {
    ...withDefaults(options, onlineDpoSettings),
  };
  const sampled = judged.map(({ samples: [a, b] }) => pairOf(a, b));
  const refLogps = referenceLogps(reference, sampled);
  const chosen = judged.flatMap(({ samples: [a, b], winner }, n): ReferencedPair[] => {
    const { refChosenLogps: ofA, refRejectedLogps: ofB } = refLogps[n]!;
    if (winner === 'tie') return [];
    if (winner === 'a') return [{ ...pairOf(a, b), refChosenLogps: ofA, refRejectedLogps: ofB }];
    return [{ ...pairOf(b, a), refChosenLogps: ofB, refRejectedLogps: ofA }];
  });
  const tied = sampled.filter((_, n) => judged[n]!.winner === 'tie');
  const sum = (all: readonly { refChosenLogps: number; refRejectedLogps: number }[]) =>
    all.reduce((total, { refChosenLogps, refRejectedLogps }) => total + refChosenLogps + refRejectedLogps, 0);
  const ofTied = sum(referenceLogps(training.model, tied)) - sum(refLogps);
  const kl = (logps: number) => (logps + ofTied) / (2 * judged.length);
  if (chosen.length === 0) {
    const none = { chosen: NaN, rejected: NaN };
    return {
      loss: 0,
      rewards: { ...none, margins: NaN, accuracies: NaN },
      logps: none,
      sequenceKl: kl(0),
      gradNorm: 0,
    };
  }

  const batchSize = chosen.length;
  const parts = inParts(chosen, Math.ceil(batchSize / accumulation));
  const settings = { loss: lossName, beta, summed: true, batchSize, gradientCheckpointing, tokenMetrics: false };
  const made = accumulate(parts, parts.length, ([part]) => pairBackward(training, part!, settings));
  const rows = [...new Set(judged.map(({ samples: [{ prompt }] }) => prompt))];
  const gradNorm = update(training, made, { lr, maxGradNorm, rows });
  const { loss, rewards, logps } = mean(
    made.parts.map(({ metrics }) => metrics),
    parts.map((part) => part.length / batchSize),
  );
  return { loss, rewards, logps, sequenceKl: kl(batchSize * (logps.chosen + logps.rejected)), gradNorm };
}

const pairOf = (chosen: Sample, rejected: Sample): PairIds => ({
  promptIds: [...chosen.promptIds],
  chosenIds: [...chosen.ids],
  rejectedIds: [...rejected.ids],
});

/** The metrics that do not depend on the policy's log-probs. */
function aboutPairs(
  pairs: readonly JudgedSamples[],
): Pick<OnlineDpoStep, 'ties' | 'inconsistent' | 'failed' | 'scores' | 'lengths' | 'eosCount'> {
  const fraction = (counts: (pair: JudgedSamples) => boolean) => pairs.filter(counts).length / pairs.length;
  /** A value of each decided pair's chosen and rejected sample, averaged. */
  const ofDecided = (value: (pair: JudgedSamples, n: 0 | 1) => number) => {
    const some = pairs.filter(({ winner }) => winner !== 'tie');
    const of = (wanted: Winner) => average(some.map((pair) => value(pair, pair.winner === wanted ? 0 : 1)));
    return { chosen: of('a'), rejected: of('b') };
  };
  const all = pairs.flatMap(({ samples }) => samples);
  const scores = ofDecided(({ scores: both }, n) => both?.[n] ?? NaN);
  return {
    ties: fraction(({ winner }) => winner === 'tie'),
    inconsistent: fraction(({ inconsistent }) => inconsistent),
    failed: fraction(({ failure }) => failure !== undefined),
    ...(pairs[0]!.scores && {
      scores: {
        mean: average(pairs.flatMap((pair) => pair.scores!)),
        margin: scores.chosen - scores.rejected,
      },
    }),
    lengths: ofDecided(({ samples }, n) => samples[n].ids.length),
    eosCount: all.filter(({ ended }) => ended).length,
  };
}

/** @throws InputError if the policy's weights cannot be mixed into the reference. */
function requireSameShapes({ weights: policy }: GPT2, { weights: reference }: GPT2): void {
  const shapes = (of: Weights) => of.names.map((name) => `${name} ${of.shape(name).join()}`).join();
  if (shapes(policy) !== shapes(reference))
    throw new InputError('referenceEvery needs a reference with the shapes of the policy; give another, or none');
}

/** reference = alpha policy + (1 - alpha) reference, for each weight, as TRL's SyncRefModelCallback. */
export function mixReference({ weights: from }: GPT2, { weights: to }: GPT2, alpha: number): void {
  for (const name of to.names) {
    const [ofPolicy, before] = [from.values(name), alpha === 1 ? undefined : to.values(name)];
    to.assign(name, before ? ofPolicy.map((value, n) => alpha * value + (1 - alpha) * before[n]!) : ofPolicy);
  }
}
