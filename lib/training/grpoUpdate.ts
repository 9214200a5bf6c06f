/** An update of GRPO or RLOO from what a step has sampled. */
import { grpoLoss, rlooLoss, type GrpoOptions } from '../losses/grpo';
import { differentiate } from '../model/forwardPass';
import { tf } from '../tf';
import { withDefaults } from './declare';
import { grpoSettings } from './grpoOptions';
import { accumulate, update, type Part } from './loop';
import type { TrainOptions } from './options';
import { countTokens, padded, sampleBatch, type MeasureOptions, type PerToken, type Sample } from './rollout';
import type { TrainingState } from './state';

/** Without maxNewTokens, by which dr_grpo divides: an update cannot know how its rollout was sampled. */
const { maxNewTokens: _, ...updateSettings } = grpoSettings;

/** What a step learns from. */
export interface GroupRollout {
  readonly samples: readonly Sample[];
  /** After penalties. */
  readonly scores: readonly number[];
  readonly advantages: readonly number[];
  readonly refLogps: PerToken;
  /** Log-probs under the policy that sampled; not needed for a single update of GRPO. */
  readonly oldLogps?: PerToken;
}

export interface GrpoUpdateOptions
  extends GrpoOptions, Pick<TrainOptions, 'accumulation' | 'maxGradNorm'>, Omit<MeasureOptions, 'batchSize'> {
  /** Which of the two losses to use. Default grpo. */
  algorithm?: 'grpo' | 'rloo';
}

/** Metrics of an update, before it changes the weights. */
export interface GrpoUpdate {
  readonly loss: number;
  readonly kl: number;
  readonly sequenceKl: number;
  readonly clipFraction: number;
  /** Before clipping. */
  readonly gradNorm: number;
}

/** Updates the weights once. @throws InputError, naming the prompts, if the loss is no longer a number. */
export function grpoUpdate(
  training: TrainingState,
  rollout: GroupRollout,
  lr: number,
  options: GrpoUpdateOptions = {},
): GrpoUpdate {
  const settings = withDefaults(options, updateSettings);
  const { accumulation, maxGradNorm } = settings;
  const { samples } = rollout;
  const { parts, loss, gradients } = accumulate(
    samples.map((_, n) => n),
    accumulation,
    (part) => backward(training, rollout, part, settings),
  );
  const gradNorm = update(
    training,
    { loss, gradients },
    { lr, maxGradNorm, rows: [...new Set(samples.map(({ prompt }) => prompt))] },
  );
  const sum = (share: (part: GrpoPart) => number) => parts.reduce((total, part) => total + share(part), 0);
  return {
    loss,
    kl: sum(({ kl }) => kl),
    sequenceKl: sum((part) => part.sequenceKl),
    clipFraction: sum(({ clipFraction }) => clipFraction),
    gradNorm,
  };
}

/** A part's shares of the means over the whole rollout. */
interface GrpoPart extends Part, Pick<GrpoUpdate, 'kl' | 'sequenceKl' | 'clipFraction'> {}

/** Forward, loss and backward of a part. */
function backward(
  { model, optimizer }: TrainingState,
  { samples, advantages, refLogps, oldLogps }: GroupRollout,
  indices: readonly number[],
  options: GrpoUpdateOptions,
): GrpoPart {
  const { algorithm, temperature, suppressTokens } = options;
  const rolloutLoss = algorithm === 'rloo' ? rlooLoss : grpoLoss;
  const whole = { tokens: countTokens(samples), responses: samples.length };
  const some = indices.map((n) => samples[n]!);
  const share = { tokens: countTokens(some) / whole.tokens, responses: some.length / whole.responses };
  const batch = sampleBatch(some, model.config.blockSize);
  using pass = model.record(batch, { temperature, suppressTokens });
  const { perTokenLogps, responseMask } = pass;
  const metrics = { kl: 0, sequenceKl: 0, clipFraction: 0 };
  using loss = differentiate([perTokenLogps], (logps) => {
    const constants = {
      oldLogps: oldLogps ? padded(indices.map((n) => oldLogps[n]!)) : perTokenLogps.clone(),
      refLogps: padded(indices.map((n) => refLogps[n]!)),
      advantages: tf.tensor1d(indices.map((n) => advantages[n]!)),
    };
    const part = rolloutLoss({ logps, responseMask, ...constants }, { ...options, ...whole });
    // Both are 0 after the end of a response.
    metrics.sequenceKl = perTokenLogps.sub(constants.refLogps).sum().dataSync()[0]! / whole.responses;
    metrics.kl = part.kl.dataSync()[0]! * share.tokens;
    metrics.clipFraction = part.clipFraction.dataSync()[0]! * (algorithm === 'rloo' ? share.responses : share.tokens);
    return part.loss;
  });
  const gradients = pass.backward(loss.gradients[0], (name) => optimizer.trains(name));
  return { loss: loss.value, gradients, ...metrics };
}
