/** Supervised fine-tuning: it raises the log-probs of the responses' tokens. */
import { differentiate } from '../model/forwardPass';
import type { GPT2 } from '../model/gpt2';
import { RANGES, requireRange } from '../ranges';
import { responseBatch, type PromptResponses, type ResponseBatch } from '../text/responseBatch';
import { tf } from '../tf';
import { requireFiniteLoss, requireTraining } from './checks';
import { rangesOf, withDefaults } from './declare';
import { accumulate, stepsLeft, update, type Part } from './loop';
import { mean, tokenMetrics, type TokenMetrics } from './metrics';
import { rowSettings, type TrainOptions } from './options';
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
export const SFT_RANGES = rangesOf(rowSettings);

/** @throws InputError for an option that is out of its range, whatever the rows. */
export function requireSftOptions(options: TrainOptions): void {
  requireTraining(options, SFT_RANGES, withDefaults(options, rowSettings).batchSize);
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
  options: TrainOptions,
  { validation, state }: { validation?: readonly PromptResponses[] | undefined; state?: TrainingState } = {},
): AsyncGenerator<SftStep, void> {
  requireSftOptions(options);
  const settings = withDefaults(options, rowSettings);
  const { batchSize, accumulation, maxGradNorm } = settings;
  const turns = stepsLeft(model, settings, { rows, length, state });

  for await (const turn of turns) {
    const { training, step, indices, lr } = turn;
    const batch = turn.pick(rows);
    const tokens = responseTokens(batch);

    const { parts, loss, gradients } = accumulate(batch, accumulation, (part) =>
      backward(training, part, tokens, settings.tokenMetrics),
    );
    const gradNorm = update(training, { loss, gradients }, { lr, maxGradNorm, rows: indices });
    training.step = step;

    const shares = parts.map((part) => part.tokens / tokens);
    const metrics = mean(
      parts.map((part) => part.metrics),
      shares,
    );
    const event = { step, loss, ...metrics, gradNorm, lr, tokens, seconds: turn.elapsed() };
    yield turn.isValidated && validation
      ? { ...event, validation: evaluateSft(model, validation, { batchSize }) }
      : event;
  }
}

/** Forward, loss and backward of a part of the batch: its share of the mean over the batch's `tokens`. */
function backward(
  { model, optimizer }: TrainingState,
  rows: readonly PromptResponses[],
  tokens: number,
  statistics: boolean,
): Part & { metrics: TokenMetrics; tokens: number } {
  const batch = batchOf(model, rows);
  using pass = model.record(batch, { statistics });
  using loss = differentiate([pass.perTokenLogps], (perTokenLogps) => perTokenLogps.sum().div<tf.Scalar>(-tokens));
  const gradients = pass.backward(loss.gradients[0], (name) => optimizer.trains(name));
  return {
    loss: loss.value,
    gradients,
    metrics: tokenMetrics(batch, pass.statistics, () => true),
    tokens: responseTokens(rows),
  };
}

/** Metrics of rows that `model` is not trained on. */
export function evaluateSft(
  model: GPT2,
  rows: readonly PromptResponses[],
  { batchSize = rowSettings.batchSize.default } = {},
): SftMetrics {
  requireRange('batchSize', batchSize, RANGES.training.batchSize);
  const parts: SftMetrics[] = [];
  const shares: number[] = [];
  for (let start = 0; start < rows.length; start += batchSize) {
    const some = rows.slice(start, start + batchSize);
    const batch = batchOf(model, some);
    const { perTokenLogps, statistics } = model.measure(batch);
    const loss = tf.tidy(() => perTokenLogps.sum().div(-responseTokens(some)).dataSync()[0]!);
    perTokenLogps.dispose();
    requireFiniteLoss(loss, start, some.length);
    parts.push({ loss, ...tokenMetrics(batch, statistics, () => true) });
    shares.push(responseTokens(some) / responseTokens(rows));
  }
  return mean(parts, shares);
}

const length = ({ promptIds, responses }: PromptResponses): number => promptIds.length + responses[0]!.length;
const responseTokens = (rows: readonly PromptResponses[]): number =>
  rows.reduce((sum, { responses }) => sum + responses[0]!.length, 0);
const batchOf = (model: GPT2, rows: readonly PromptResponses[]): ResponseBatch =>
  responseBatch(rows, { layout: 'padded', maxLength: model.config.blockSize });
