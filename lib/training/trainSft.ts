/**
 * Supervised fine-tuning: it raises the log-probs of the responses' tokens.
 *
 * With `packing`, a step takes windows instead of rows: rows that have at most `maxLength` tokens together. A window
 * decides only which rows come into a step. They are computed as others are, each with its own positions and attention,
 * and the loss is the mean over all response tokens of the batch. Each batch has its own layout (`fitted`), because
 * rows as short as the batch allows make attention cheaper than whole windows would.
 */
import { differentiate } from '../model/forwardPass';
import type { GPT2 } from '../model/gpt2';
import { largest, RANGES, requireRange } from '../ranges';
import { packed } from '../text/packing';
import { responseBatch, type PromptResponses, type ResponseBatch } from '../text/responseBatch';
import { tf } from '../tf';
import { requireFiniteLoss, requireMaxLength, requireTraining } from './checks';
import { rangesOf, withDefaults } from './declare';
import { accumulate, stepsLeft, update, type Part } from './loop';
import { mean, tokenMetrics, type TokenMetrics } from './metrics';
import { sftSettings, type SftTrainOptions } from './sftOptions';
import type { TrainingState } from './state';

export type SftMetrics = TokenMetrics & {
  /** The mean negative log-prob of a response token, in nats. */
  readonly loss: number;
};

export interface SftStep extends SftMetrics {
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
  readonly validation?: SftMetrics;
}

/** A range for each numeric option. */
export const SFT_RANGES = rangesOf(sftSettings);

/** @throws InputError for an option that is out of its range, whatever the rows. */
export function requireSftOptions(options: SftTrainOptions): void {
  requireTraining(options, SFT_RANGES, withDefaults(options, sftSettings).batchSize);
}

/**
 * What `batchSize`, `epochs` and the order of a training count: windows with `packing`, else rows.
 *
 * @param blockSize the model's window.
 * @returns for each the indices of its rows.
 * @throws InputError if `maxLength` is out of its range, or a row is longer.
 */
export function sftWindows(
  rows: readonly PromptResponses[],
  { packing, maxLength }: Pick<SftTrainOptions, 'packing' | 'maxLength'>,
  blockSize: number,
): number[][] {
  if (packing !== true) return rows.map((_, row) => [row]);
  return packed(rows.map(length), windowLength(maxLength, blockSize));
}

function windowLength(maxLength: number | undefined, blockSize: number): number {
  if (maxLength !== undefined) requireMaxLength(maxLength, blockSize);
  return maxLength ?? blockSize;
}

/**
 * Trains `model` in place, and yields after each step.
 *
 * @param rows a prompt with one response each, as ids, the response with its end-of-sequence token.
 * @param more.validation rows that are not trained on.
 * @param more.state where to begin; advanced with each step. The caller saves and disposes of it. Default: a new one.
 * @throws InputError if an option or a row does not fit, or the loss is no longer a number.
 */
export async function* trainSft(
  model: GPT2,
  rows: readonly PromptResponses[],
  options: SftTrainOptions,
  { validation, state }: { validation?: readonly PromptResponses[] | undefined; state?: TrainingState } = {},
): AsyncGenerator<SftStep, void> {
  requireSftOptions(options);
  const settings = withDefaults(options, sftSettings);
  const { accumulation, maxGradNorm } = settings;
  const windows = sftWindows(rows, settings, model.config.blockSize);
  const longest = (window: readonly number[]): number => largest(window.map((row) => length(rows[row]!)));
  const turns = stepsLeft(model, settings, { rows: windows, length: longest, state });

  for await (const turn of turns) {
    const { training, step, lr } = turn;
    const batch = turn.pick(windows);
    const indices = batch.flat();
    const tokens = responseTokens(indices.map((row) => rows[row]!));

    const { parts, loss, gradients } = accumulate(batch, accumulation, (part) => {
      const some = part.flat().map((row) => rows[row]!);
      return backward(training, some, tokens, settings);
    });
    const gradNorm = update(training, { loss, gradients }, { lr, maxGradNorm, rows: indices });
    training.step = step;

    const shares = parts.map((part) => part.tokens / tokens);
    const metrics = mean(
      parts.map((part) => part.metrics),
      shares,
    );
    const event = { step, loss, ...metrics, gradNorm, lr, tokens, seconds: turn.elapsed() };
    yield turn.isValidated && validation ? { ...event, validation: evaluateSft(model, validation, settings) } : event;
  }
}

/** Forward, loss and backward of a part of the batch: its share of the mean over the batch's `tokens`. */
function backward(
  { model, optimizer }: TrainingState,
  rows: readonly PromptResponses[],
  tokens: number,
  {
    packing,
    tokenMetrics: statistics,
    gradientCheckpointing,
  }: { packing: boolean; tokenMetrics: boolean; gradientCheckpointing: boolean },
): Part & { metrics: TokenMetrics; tokens: number } {
  const batch = batchOf(model, rows, packing);
  using pass = model.record(batch, { statistics, gradientCheckpointing });
  using loss = differentiate([pass.perTokenLogps], (perTokenLogps) => perTokenLogps.sum().div<tf.Scalar>(-tokens));
  const gradients = pass.backward(loss.gradients[0], (name) => optimizer.trains(name));
  return {
    loss: loss.value,
    gradients,
    metrics: tokenMetrics(batch, pass.statistics, () => true),
    tokens: responseTokens(rows),
  };
}

/**
 * Metrics of rows that `model` is not trained on; means over all response tokens, however the rows are computed.
 *
 * @param options.batchSize rows to compute at once; with `packing`, windows of `maxLength` tokens to fill with rows.
 */
export function evaluateSft(
  model: GPT2,
  rows: readonly PromptResponses[],
  options: Pick<SftTrainOptions, 'batchSize' | 'packing' | 'maxLength'> = {},
): SftMetrics {
  const { batchSize, packing, maxLength } = withDefaults(options, sftSettings);
  requireRange('batchSize', batchSize, RANGES.training.batchSize);
  const room = packing ? batchSize * windowLength(maxLength, model.config.blockSize) : Infinity;
  const parts: SftMetrics[] = [];
  const shares: number[] = [];
  for (let start = 0, end: number; start < rows.length; start = end) {
    end = packing ? endOf(rows, start, room) : start + batchSize;
    const some = rows.slice(start, end);
    const batch = batchOf(model, some, packing);
    const { perTokenLogps, statistics } = model.measure(batch);
    const loss = tf.tidy(() => perTokenLogps.sum().div(-responseTokens(some)).dataSync()[0]!);
    perTokenLogps.dispose();
    requireFiniteLoss(loss, start, some.length);
    parts.push({ loss, ...tokenMetrics(batch, statistics, () => true) });
    shares.push(responseTokens(some) / responseTokens(rows));
  }
  return mean(parts, shares);
}

/** The end of the rows from `start` on that have at most `room` tokens together; at least one row. */
function endOf(rows: readonly PromptResponses[], start: number, room: number): number {
  let end = start + 1;
  for (let left = room - length(rows[start]!); end < rows.length; end += 1) {
    left -= length(rows[end]!);
    if (left < 0) break;
  }
  return end;
}

const length = ({ promptIds, responses }: PromptResponses): number => promptIds.length + responses[0]!.length;
const responseTokens = (rows: readonly PromptResponses[]): number =>
  rows.reduce((sum, { responses }) => sum + responses[0]!.length, 0);
const batchOf = (model: GPT2, rows: readonly PromptResponses[], packing: boolean): ResponseBatch =>
  responseBatch(rows, { layout: packing ? 'fitted' : 'padded', maxLength: model.config.blockSize });
