/**
 * Kahneman-Tversky optimization (https://arxiv.org/abs/2402.01306): training on single responses with a thumb up or
 * down, after TRL's KTOTrainer.
 *
 * The reference point of a step is estimated from mismatched pairs: each prompt of the batch with the response of the
 * row before it in the batch (the first row's prompt with the last row's response), so that the same responses stand on
 * both sides. The order of the rows is drawn again in every epoch, so the pairs are, too. (TRL takes the rows in the
 * order of the file in every epoch.) With `accumulation` the point is still that of the whole batch.
 */
import { InputError, plural } from '../errors';
import { ktoLosses, ktoReferencePoint, type KtoOptions } from '../losses/kto';
import { differentiate } from '../model/forwardPass';
import type { GPT2 } from '../model/gpt2';
import type { TokenStatistics } from '../model/heads';
import type { LabeledResponse } from '../text/dataset';
import { responseBatch, type PromptResponses, type ResponseBatch } from '../text/responseBatch';
import { tf } from '../tf';
import { requireFiniteLoss, requireTraining } from './checks';
import { rangesOf, withDefaults } from './declare';
import { ktoSettings, type KtoTrainOptions } from './ktoOptions';
import { accumulate, stepsLeft, update, type Part } from './loop';
import { mean, tokenMetrics, type TokenMetrics } from './metrics';
import { responseLogps } from './reference';
import type { TrainingState } from './state';

/** With the names of TRL's KTOTrainer. A mean over no rows is missing. */
export type KtoMetrics = Pick<TokenMetrics, 'entropy'> & {
  /** The mean of the rows' weighted losses. */
  readonly loss: number;
  /** The reference point, in nats: an estimate of the KL between policy and reference, at least 0. */
  readonly kl: number;
  /** beta times the log-ratio of policy and reference: means over the desirable and the undesirable rows. */
  readonly rewards: { readonly chosen?: number; readonly rejected?: number; readonly margins?: number };
  /** Log-probs of whole responses under the policy. */
  readonly logps: { readonly chosen?: number; readonly rejected?: number };
};

export interface KtoStep extends KtoMetrics {
  /** From 1 up. */
  readonly step: number;
  /** Before clipping. */
  readonly gradNorm: number;
  readonly lr: number;
  /** Response tokens in this step's batch. */
  readonly tokens: number;
  /** Excluding the validation. */
  readonly seconds: number;
  /** Metrics of the validation rows after this step, if a validation was due. */
  readonly validation?: KtoMetrics;
}

export interface KtoInputs {
  /** The model to stay near: another object than the one that is trained, or the base of its adapters. */
  reference: GPT2;
  /** Rows that are not trained on, at least two. */
  validation?: readonly LabeledResponse[] | undefined;
  /** Where to begin; advanced with each step. The caller saves and disposes of it. Default: a new one. */
  state?: TrainingState;
}

/** A range for each numeric option. */
const KTO_RANGES = rangesOf(ktoSettings);

/** @throws InputError for an option that is out of its range, whatever the rows. */
export function requireKtoOptions(options: KtoTrainOptions): void {
  const { batchSize } = withDefaults(options, ktoSettings);
  requireTraining(options, KTO_RANGES, batchSize);
  if (batchSize < 2) throw new InputError('batchSize must be at least 2: one row alone cannot form a mismatched pair');
}

/**
 * Trains `model` in place, and yields after each step.
 *
 * @throws InputError if an option or a row does not fit, the reference is the model itself, or the loss is no longer a
 *   number.
 */
export async function* trainKto(
  model: GPT2,
  rows: readonly LabeledResponse[],
  options: KtoTrainOptions,
  { reference, validation, state }: KtoInputs,
): AsyncGenerator<KtoStep, void> {
  requireKtoOptions(options);
  if (reference === model)
    throw new InputError('the reference is the model that is trained, so it would move along; load it a second time');
  requireTwo(rows, 'rows');
  if (validation) requireTwo(validation, 'rows of validation');
  const settings = withDefaults(options, ktoSettings);
  const { accumulation, batchSize, maxGradNorm } = settings;
  const turns = stepsLeft(model, settings, { rows, length, state });

  for await (const turn of turns) {
    const { training, step, indices, lr } = turn;
    const batch = referenced(model, reference, turn.pick(rows), batchSize / accumulation);
    const { parts, loss, gradients } = accumulate(batch.rows, accumulation, (part) =>
      backward(training, part, batch.kl, settings),
    );
    const gradNorm = update(training, { loss, gradients }, { lr, maxGradNorm, rows: indices });
    training.step = step;

    const tokens = responseTokens(batch.rows);
    const shares = parts.map((part) => part.tokens / tokens);
    const ofTokens = mean(
      parts.map((part) => part.metrics),
      shares,
    );
    const measured = parts.flatMap((part) => part.measured);
    const metrics = { loss, kl: batch.kl, ...ofTokens, ...means(batch.rows, measured) };
    const event = { step, ...metrics, gradNorm, lr, tokens, seconds: turn.elapsed() };
    yield turn.isValidated && validation
      ? { ...event, validation: evaluateKto(model, validation, reference, options) }
      : event;
  }
}

interface ReferencedRow extends LabeledResponse {
  readonly refLogps: number;
}

/** What the policy says of a row: the log-prob of its response, and its reward. */
interface Measured {
  readonly logps: number;
  readonly reward: number;
}

/** A batch with the reference's log-probs and its reference point; `size` rows are computed at a time. */
function referenced(
  model: GPT2,
  reference: GPT2,
  rows: readonly LabeledResponse[],
  size: number,
): { rows: ReferencedRow[]; kl: number } {
  const own = rows.map(({ promptIds, responseIds }): PromptResponses => ({ promptIds, responses: [responseIds] }));
  const mismatched = rows.map(({ promptIds }, n): PromptResponses => {
    const { responseIds } = rows.at(n - 1)!;
    return { promptIds, responses: [responseIds.slice(0, model.config.blockSize - promptIds.length)] };
  });
  // one prompt for both responses: it is computed once
  const both = own.map(({ promptIds, responses }, n) => ({
    promptIds,
    responses: [...responses, ...mismatched[n]!.responses],
  }));
  const ofReference = logps(reference, both, size);
  const kl = tf.tidy(
    () =>
      ktoReferencePoint({
        policyMismatchedLogps: tf.tensor1d(logps(model, mismatched, size)),
        refMismatchedLogps: tf.tensor1d(ofReference.filter((_, n) => n % 2 === 1)),
      }).dataSync()[0]!,
  );
  return { rows: rows.map((row, n) => ({ ...row, refLogps: ofReference[2 * n]! })), kl };
}

/** @throws InputError if a log-prob is not finite. */
function logps(model: GPT2, rows: readonly PromptResponses[], size: number): number[] {
  const all = [...responseLogps(model, rows, size)].flatMap((sums) => [...sums]);
  const wrong = all.find((sum) => !Number.isFinite(sum));
  if (wrong !== undefined)
    throw new InputError(
      `the log-prob of a response is ${wrong}; the model's weights or its sums are too large to compute with`,
    );
  return all;
}

/** Forward, loss and backward of a part of the batch: its share of the mean over `options.batchSize` rows. */
function backward(
  { model, optimizer }: TrainingState,
  rows: readonly ReferencedRow[],
  kl: number,
  options: KtoTrainOptions & { batchSize: number; tokenMetrics: boolean; gradientCheckpointing: boolean },
): Part & { metrics: Pick<TokenMetrics, 'entropy'>; measured: Measured[]; tokens: number } {
  const { tokenMetrics: statistics, gradientCheckpointing } = options;
  const batch = batchOf(model, rows);
  using pass = model.record(batch, { statistics, gradientCheckpointing });
  let measured: Measured[];
  using loss = differentiate([pass.perTokenLogps], (perTokenLogps) => {
    const { losses, measure } = rowLosses(perTokenLogps, rows, kl, options);
    measured = measure();
    return losses.sum().div<tf.Scalar>(options.batchSize);
  });
  const gradients = pass.backward(loss.gradients[0], (name) => optimizer.trains(name));
  return {
    loss: loss.value,
    gradients,
    metrics: entropyOf(batch, pass.statistics),
    measured: measured!,
    tokens: responseTokens(rows),
  };
}

/** @param perTokenLogps [B, L], differentiable. */
function rowLosses(
  perTokenLogps: tf.Tensor2D,
  rows: readonly ReferencedRow[],
  kl: number,
  { beta, desirableWeight, undesirableWeight }: KtoOptions,
): { losses: tf.Tensor1D; measure: () => Measured[] } {
  const policyLogps = perTokenLogps.sum<tf.Tensor1D>(1);
  const inputs = {
    policyLogps,
    refLogps: tf.tensor1d(rows.map((row) => row.refLogps)),
    desirable: tf.tensor1d(
      rows.map((row) => row.desirable),
      'bool',
    ),
  };
  const { losses, rewards } = ktoLosses(inputs, tf.scalar(kl), { beta, desirableWeight, undesirableWeight });
  return {
    losses,
    measure: () => {
      const [sums, gains] = [policyLogps.dataSync(), rewards.dataSync()];
      return rows.map((_, n) => ({ logps: sums[n]!, reward: gains[n]! }));
    },
  };
}

/** Means over the desirable and the undesirable rows. */
function means(rows: readonly LabeledResponse[], measured: readonly Measured[]): Pick<KtoMetrics, 'rewards' | 'logps'> {
  const average = (desirable: boolean, name: keyof Measured): number | undefined => {
    const values = measured.filter((_, n) => rows[n]!.desirable === desirable).map((each) => each[name]);
    return values.length === 0 ? undefined : values.reduce((sum, value) => sum + value, 0) / values.length;
  };
  const pair = (name: keyof Measured) => {
    const [chosen, rejected] = [average(true, name), average(false, name)];
    return { ...(chosen !== undefined && { chosen }), ...(rejected !== undefined && { rejected }) };
  };
  const rewards = pair('reward');
  const { chosen, rejected } = rewards;
  const margins = chosen !== undefined && rejected !== undefined ? { margins: chosen - rejected } : {};
  return { rewards: { ...rewards, ...margins }, logps: pair('logps') };
}

/**
 * Metrics of rows that `model` is not trained on. The reference point is the mean over all of them: each prompt with
 * the response of the row before it.
 *
 * @throws InputError if there are fewer than two rows, or a loss is not a number.
 */
export function evaluateKto(
  model: GPT2,
  rows: readonly LabeledResponse[],
  reference: GPT2,
  options: Partial<KtoTrainOptions> = {},
): KtoMetrics {
  requireTwo(rows, 'rows');
  const settings = withDefaults(options, ktoSettings);
  const all = referenced(model, reference, rows, settings.batchSize);
  const measured: Measured[] = [];
  const parts: Pick<TokenMetrics, 'entropy'>[] = [];
  const shares: number[] = [];
  let loss = 0;
  for (let start = 0; start < rows.length; start += settings.batchSize) {
    const some = all.rows.slice(start, start + settings.batchSize);
    const batch = batchOf(model, some);
    const { perTokenLogps, statistics } = model.measure(batch);
    const sum = tf.tidy(() => {
      const { losses, measure } = rowLosses(perTokenLogps, some, all.kl, settings);
      measured.push(...measure());
      return losses.sum().dataSync()[0]!;
    });
    perTokenLogps.dispose();
    requireFiniteLoss(sum, start, some.length);
    loss += sum / rows.length;
    parts.push(entropyOf(batch, statistics));
    shares.push(responseTokens(some) / responseTokens(rows));
  }
  return { loss, kl: all.kl, ...mean(parts, shares), ...means(rows, measured) };
}

function requireTwo(rows: readonly LabeledResponse[], what: string): void {
  if (rows.length < 2) throw new InputError(`KTO needs at least two ${what}, got ${plural(rows.length, 'row')}`);
}

function entropyOf(batch: ResponseBatch, statistics: TokenStatistics | undefined): Pick<TokenMetrics, 'entropy'> {
  const { entropy } = tokenMetrics(batch, statistics, () => true);
  return entropy === undefined ? {} : { entropy };
}

const length = ({ promptIds, responseIds }: LabeledResponse): number => promptIds.length + responseIds.length;
const responseTokens = (rows: readonly LabeledResponse[]): number =>
  rows.reduce((sum, { responseIds }) => sum + responseIds.length, 0);
const batchOf = (model: GPT2, rows: readonly LabeledResponse[]): ResponseBatch =>
  responseBatch(
    rows.map(({ promptIds, responseIds }) => ({ promptIds, responses: [responseIds] })),
    { layout: 'padded', maxLength: model.config.blockSize },
  );
