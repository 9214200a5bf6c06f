/** What a training shows of its model's answers: which prompts are answered, when, and what is measured. */
import { InputError, plural } from '../errors';
import type { GPT2Config } from '../formats/config';
import type { GPT2 } from '../model/gpt2';
import { RewardModel } from '../model/rewardModel';
import { largest } from '../ranges';
import { readAny, type AnyRow } from '../text/dataset';
import type { Tokenizer } from '../text/tokenizer';
import {
  answerLength,
  evaluateAnswers,
  exactMatch,
  regexMatch,
  requireExpected,
  type AnswerMetric,
  type HeldOutRow,
} from '../training/answerMetrics';
import { answersAt, type Answer, type AnswerInputs } from '../training/answers';
import { requireWindow } from '../training/checks';
import { withDefaults, type OptionsOf } from '../training/declare';
import { isValidated } from '../training/options';
import { rewardOf } from '../training/rewards';
import { answerTokens, metricsAsked, validateEvery, type metricSettings, type sampleSettings } from './answerSettings';
import { readData, type DataSettings } from './readData';
import { loadRewardFunction } from './rewardFunction';
import { statusLine } from './terminal';
import { printNotes } from './trainNotes';

/** Prompts that are answered where the settings name none. */
const FEW = 3;

type Config = OptionsOf<typeof sampleSettings & typeof metricSettings & typeof answerTokens> &
  DataSettings & { readonly validation?: string; readonly validateEvery?: number };

/** A prompt of a file, as ids, with a response that is right, if the row has one. */
export interface PromptRow {
  readonly promptIds: readonly number[];
  readonly right?: readonly number[] | undefined;
  /** Whether it is from a plain text, so that its prompt is only a first token and nothing to answer. */
  readonly isText?: boolean;
}

export interface LiveInputs {
  /** The model that is trained. */
  readonly model: GPT2;
  readonly tokenizer: Tokenizer;
  readonly data: readonly PromptRow[];
  readonly validation: readonly PromptRow[] | undefined;
  readonly steps: number;
  /** Stops answering, and waiting for the metric function, when it is aborted. */
  readonly interruption: AbortController;
}

export class LiveAnswers {
  readonly sampleEvery: number | undefined;
  readonly prompts: readonly (readonly number[])[];
  readonly interruption: AbortController;
  readonly #inputs: Omit<AnswerInputs, 'prompts'>;
  readonly #heldOut: { rows: readonly HeldOutRow[]; metrics: Readonly<Record<string, AnswerMetric>> };
  readonly #isDue: (step: number) => boolean;

  private constructor(
    config: Config,
    { model, tokenizer, steps, interruption }: LiveInputs,
    prompts: LiveAnswers['prompts'],
    heldOut: { rows: readonly HeldOutRow[]; metrics: Readonly<Record<string, AnswerMetric>> },
  ) {
    this.sampleEvery = config.sampleEvery;
    this.prompts = prompts;
    this.interruption = interruption;
    this.#inputs = { model, tokenizer, maxNewTokens: withDefaults(config, answerTokens).maxNewTokens };
    this.#heldOut = heldOut;
    const every = { ...withDefaults(config, { validateEvery }), steps };
    this.#isDue = (step) => isValidated(step, every); // as the trainers validate, and before the first step
  }

  /**
   * Reads what the settings name.
   *
   * @throws InputError or FileError if a prompt, a metric or a file does not fit.
   */
  static async of(config: Config, given: LiveInputs): Promise<LiveAnswers> {
    const rows = metricsAsked(config).length === 0 ? [] : heldOutRows(config, given);
    const heldOut = { rows, metrics: await metricsOf(config, rows, given) };
    return new LiveAnswers(config, given, config.sampleEvery === 0 ? [] : await promptsOf(config, given), heldOut);
  }

  /** Whether samples are due after this step; those before the first step and after the last are due unless N is 0. */
  isSampled(step: number): boolean {
    return this.sampleEvery !== undefined && this.sampleEvery > 0 && step % this.sampleEvery === 0;
  }

  /** Whether the answers to the held-out prompts are measured before the first step (0) or after this one. */
  isMeasured(step: number): boolean {
    return this.#heldOut.rows.length > 0 && this.#isDue(step);
  }

  answers(step: number, prompts: LiveAnswers['prompts'], signal?: AbortSignal): Promise<Answer[]> {
    return answersAt(step, { ...this.#inputs, prompts, signal });
  }

  measure(step: number): Promise<Record<string, number>> {
    statusLine(`answering ${plural(this.#heldOut.rows.length, 'held-out prompt')}`);
    const { signal } = this.interruption;
    return evaluateAnswers({ ...this.#inputs, ...this.#heldOut, signal, ...(step > 0 && { step }) });
  }

  /** The text of a prompt, as the answers have it. */
  textOf(promptIds: readonly number[]): string {
    return this.#inputs.tokenizer.decode(promptIds);
  }
}

/** Rows of any form, as prompts. A row of a pair has the chosen response as the right one. */
export async function readPromptRows(
  file: string,
  config: DataSettings,
  tokenizer: Tokenizer,
  sizes: GPT2Config,
): Promise<PromptRow[]> {
  const rows = await readData(config, sizes, (options) => readAny(file, tokenizer, options), { tellMerges: false });
  if (rows.some(({ kind }) => kind === 'text')) throw withoutPrompts(file);
  return rows.map(promptRow);
}

const promptRow = ({ promptIds, responses, desirable = true }: AnyRow): PromptRow => ({
  promptIds,
  right: desirable ? responses[0] : undefined,
});

const withoutPrompts = (file: string): InputError =>
  new InputError(`${file}: plain texts have no prompts to answer; give rows with prompts`);

async function promptsOf(config: Config, given: LiveInputs): Promise<LiveAnswers['prompts']> {
  const { tokenizer, model } = given;
  const { samplePrompts: file, samplePrompt: texts = [] } = config;
  if (texts.includes('')) throw new InputError('samplePrompt is empty; give a text to continue');
  const written = texts.map((text) => tokenizer.encode(text));
  const rows = file === undefined ? [] : await readPromptRows(file, config, tokenizer, model.config);
  const asked = [...written, ...rows.map(({ promptIds }) => promptIds)];
  if (asked.length > 0) return asked;
  const found = new Map<string, readonly number[]>();
  for (const { promptIds, isText } of given.validation ?? given.data) {
    if (!isText) found.set(promptIds.join(), promptIds);
    if (found.size === FEW) break;
  }
  if (found.size === 0)
    printNotes(['plain texts have no prompts to answer, so there are no samples; --sample-prompt TEXT gives a prompt']);
  return [...found.values()];
}

/** Each prompt of the validation once, with all responses that are right. */
function heldOutRows({ validation: file }: Config, { validation = [], tokenizer }: LiveInputs): HeldOutRow[] {
  if (validation.some(({ isText }) => isText)) throw withoutPrompts(file!);
  const rows = new Map<string, { promptIds: readonly number[]; expected: string[] }>();
  for (const { promptIds, right } of validation) {
    const key = promptIds.join();
    const row = rows.get(key) ?? { promptIds, expected: [] };
    if (right) row.expected.push(tokenizer.decode(right.filter((id) => !tokenizer.endTokenIds.includes(id))));
    rows.set(key, row);
  }
  return [...rows.values()];
}

/** The metrics by the names of `ANSWER_METRICS`. */
async function metricsOf(
  config: Config,
  rows: readonly HeldOutRow[],
  { model, interruption }: LiveInputs,
): Promise<Record<string, AnswerMetric>> {
  const { metrics = [], metricRegex, metricRewardModel, metricFunction } = config;
  const found: Record<string, AnswerMetric> = {};
  if (metrics.includes('exactMatch')) {
    requireExpected(rows);
    found['exactMatch'] = exactMatch;
  }
  if (metrics.includes('length')) found['length'] = answerLength;
  if (metricRegex !== undefined) found['regexMatch'] = regexMatch(metricRegex);
  if (metricRewardModel !== undefined) {
    const judge = await RewardModel.fromPretrained(metricRewardModel);
    const longest =
      largest(rows.map(({ promptIds }) => promptIds.length)) + withDefaults(config, answerTokens).maxNewTokens;
    const most = Math.min(model.config.blockSize, longest);
    requireWindow(
      'metricRewardModel',
      metricRewardModel,
      judge.config,
      most,
      'lower maxNewTokens, or give another model',
    );
    found['score'] = rewardOf(judge);
  }
  if (metricFunction !== undefined) {
    const loaded = await loadRewardFunction(metricFunction, {
      name: 'metric',
      signal: interruption.signal,
      tell: (text) => console.error(text),
    });
    found['metric'] = loaded.reward;
  }
  return found;
}
