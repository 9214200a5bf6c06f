/** An update of GRPO or RLOO from what a step has sampled. */
import { grpoLoss, rlooLoss, type GrpoOptions } from '../losses/grpo';
import { differentiate } from '../model/forwardPass';
import { average } from '../moments';
import { tf } from '../tf';
import { withDefaults } from './declare';
import { grpoSettings } from './grpoOptions';
import { accumulate, requireParts, update, type Part } from './loop';
import type { TrainOptions } from './options';
import { countTokens, inParts, padded, sampleBatch, type MeasureOptions, type PerToken, type Sample } from './rollout';
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
  /** Whether each sample counts: the update learns from those that do, and its means are over them. Default: all. */
  readonly counts?: readonly boolean[];
}

export interface GrpoUpdateOptions
  extends
    GrpoOptions,
    Pick<TrainOptions, 'accumulation' | 'maxGradNorm' | 'gradientCheckpointing'>,
    Omit<MeasureOptions, 'batchSize'> {
  /** Which of the two losses to use. Default grpo. */
  algorithm?: 'grpo' | 'rloo';
  /**
   * Leave the samples that did not end out of the loss, but not out of its number of responses, as TRL's
   * mask_truncated_completions does (DAPO, arXiv 2503.14476, section 3.4); for GRPO. Default false.
   */
  maskTruncated?: boolean;
}

/**
 * Metrics of an update, before it changes the weights, over the samples that it learns from. Without such a sample,
 * `loss` and `gradNorm` are 0 and the others NaN.
 */
export interface GrpoUpdate {
  readonly loss: number;
  readonly kl: number;
  readonly sequenceKl: number;
  /** The mean entropy of the policy's next-token distributions in the samples that it learns from, in nats. */
  readonly entropy: number;
  readonly clipFraction: number;
  /** Before clipping. */
  readonly gradNorm: number;
}

/**
 * Updates the weights once, or not at all where there is no sample to learn from.
 *
 * @throws InputError, naming the prompts, if the loss is no longer a number.
 */
export function grpoUpdate(
  training: TrainingState,
  rollout: GroupRollout,
  lr: number,
  options: GrpoUpdateOptions = {},
): GrpoUpdate {
  const settings = withDefaults(options, updateSettings);
  const { accumulation, maxGradNorm, algorithm, maskTruncated } = settings;
  const { samples, counts } = rollout;
  requireParts(samples.length, accumulation);
  const counted = samples.map((_, n) => n).filter((n) => counts?.[n] ?? true);
  const learned = counted.filter((n) => samples[n]!.ended || !maskTruncated || algorithm === 'rloo');
  if (learned.length === 0) return { loss: 0, kl: NaN, sequenceKl: NaN, entropy: NaN, clipFraction: NaN, gradNorm: 0 };
  const whole = { tokens: countTokens(learned.map((n) => samples[n]!)), responses: counted.length };
  const chunks = inParts(learned, samples.length / accumulation);
  const { parts, loss, gradients } = accumulate(chunks, chunks.length, ([part]) =>
    backward(training, rollout, part!, { ...settings, ...whole }),
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
    sequenceKl: sum((part) => part.sequenceKl) / learned.length,
    entropy: sum(({ entropy }) => entropy),
    clipFraction: sum(({ clipFraction }) => clipFraction),
    gradNorm,
  };
}

/** A part's shares of the means over the whole rollout; its `sequenceKl` is a sum. */
interface GrpoPart extends Part, Pick<GrpoUpdate, 'kl' | 'sequenceKl' | 'entropy' | 'clipFraction'> {}

/** Forward, loss and backward of a part. `tokens` and `responses` are those of the whole rollout. */
function backward(
  { model, optimizer }: TrainingState,
  { samples, advantages, refLogps, oldLogps }: GroupRollout,
  indices: readonly number[],
  options: GrpoUpdateOptions & { tokens: number; responses: number },
): GrpoPart {
  const { algorithm, level, temperature, suppressTokens, gradientCheckpointing } = options;
  const rolloutLoss = algorithm === 'rloo' ? rlooLoss : grpoLoss;
  const some = indices.map((n) => samples[n]!);
  const share = { tokens: countTokens(some) / options.tokens, responses: some.length / options.responses };
  const batch = sampleBatch(some, model.config.blockSize);
  using pass = model.record(batch, { temperature, suppressTokens, statistics: true, gradientCheckpointing });
  const { perTokenLogps, responseMask, statistics } = pass;
  const entropy = average(statistics!.entropy) * share.tokens;
  const metrics = { kl: 0, sequenceKl: 0, entropy, clipFraction: 0 };
  using loss = differentiate([perTokenLogps], (logps) => {
    const constants = {
      oldLogps: oldLogps ? padded(indices.map((n) => oldLogps[n]!)) : perTokenLogps.clone(),
      refLogps: padded(indices.map((n) => refLogps[n]!)),
      advantages: tf.tensor1d(indices.map((n) => advantages[n]!)),
    };
    const part = rolloutLoss({ logps, responseMask, ...constants }, options);
    // Both are 0 after the end of a response.
    metrics.sequenceKl = perTokenLogps.sub(constants.refLogps).sum().dataSync()[0]!;
    metrics.kl = part.kl.dataSync()[0]! * share.tokens;
    const ofResponses = algorithm === 'rloo' || level === 'sequence';
    metrics.clipFraction = part.clipFraction.dataSync()[0]! * (ofResponses ? share.responses : share.tokens);
    return part.loss;
  });
  const gradients = pass.backward(loss.gradients[0], (name) => optimizer.trains(name));
  return { loss: loss.value, gradients, ...metrics };
}
