/** `alignbook evaluate`: measures a model on pairs and sampled answers. */
import { plural } from '../errors';
import { replaceFile, requireWritable } from '../formats/replace';
import { configOf } from '../model/folder';
import { GPT2 } from '../model/gpt2';
import { RewardModel } from '../model/rewardModel';
import { average } from '../moments';
import { Random } from '../random';
import { RANGES, requireRange } from '../ranges';
import type { PairIds } from '../text/batch';
import { readPairs } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import { withDefaults, type DefaultsOf, type OptionsOf } from '../training/declare';
import {
  answerKl,
  evaluatePairs,
  overPrompts,
  type AnswerKl,
  type Measured,
  type PairEvaluation,
} from '../training/pairEvaluation';
import { referenceLogps } from '../training/reference';
import { rewardOf, scoreSamples } from '../training/rewards';
import { respond, sampleResponses, type Sample } from '../training/rollout';
import type { DpoLossOptions } from '../training/trainDpo';
import { evaluateSettings } from './commandSettings';
import { readData } from './readData';
import { statusLine } from './terminal';

type Sampling = Pick<
  DefaultsOf<typeof evaluateSettings>,
  'prompts' | 'samples' | 'maxNewTokens' | 'show' | 'batchSize' | 'seed' | 'temperature'
>;

interface Report extends PairEvaluation {
  readonly model: string;
  readonly reference: string | null;
  readonly data: string;
  readonly pairs: number;
  readonly lossName: string;
  readonly sampled: Sampled | null;
  /** The most likely answers, generated greedily. */
  readonly answers: readonly {
    readonly prompt: string;
    readonly chosen: string;
    readonly rejected: string;
    readonly model: string;
    readonly reference: string | null;
  }[];
}

interface Sampled {
  readonly prompts: number;
  readonly samples: number;
  readonly temperature: number;
  readonly maxNewTokens: number;
  readonly seed: number;
  /**
   * Mean length of the answers in tokens, including the end-of-text token; `ended` is the fraction of answers that
   * reached it.
   */
  readonly tokens: number;
  readonly ended: number;
  readonly kl: Omit<AnswerKl, 'ofSamples'> | null;
  readonly scores: { readonly model: Measured; readonly reference: Measured | null } | null;
  /** `pair` numbers the answer's pair among those that were read, counted from 1. */
  readonly responses: readonly {
    readonly pair: number;
    readonly ids: readonly number[];
    readonly text: string;
    readonly kl: number | null;
    readonly score: number | null;
  }[];
}

export async function run(given: OptionsOf<typeof evaluateSettings>): Promise<void> {
  const settings = withDefaults(given, evaluateSettings);
  const { model: name, data, reference: referenceName, rewardModel: rewardName, output, json } = settings;
  requireRange('temperature', settings.temperature, RANGES.sampling.temperature);
  requireRange('seed', settings.seed, RANGES.generation.seed);
  if (output !== undefined) requireWritable(output);
  const { loss: lossName, beta, labelSmoothing } = settings;
  const loss: DpoLossOptions = {
    loss: lossName,
    ...(beta !== undefined && { beta }),
    ...(labelSmoothing !== undefined && { labelSmoothing }),
  };

  const sizes = await configOf(name);
  const tokenizer = await Tokenizer.fromPretrained(name);
  const pairs = await readData(settings, sizes, (rowOptions) => readPairs(data, tokenizer, rowOptions));
  const rewardModel = rewardName === undefined ? undefined : await RewardModel.fromPretrained(rewardName);
  const reference = referenceName === undefined ? undefined : await GPT2.fromPretrained(referenceName);
  const model = await GPT2.fromPretrained(name);
  const told = (what: string) => ({
    batchSize: settings.batchSize,
    onProgress: (done: number) => statusLine(`${what}: ${done} of ${plural(pairs.length, 'pair')}`),
  });
  const held = reference && referenceLogps(reference, pairs, told('log-probs of the reference'));
  const evaluation = evaluatePairs(model, pairs, held, { ...loss, ...told('log-probs of the model') });
  const models = { model, reference, rewardModel, tokenizer };
  const sampled = settings.prompts === 0 ? null : await sample(models, pairs, settings);
  const answers = await greedy(models, pairs, settings);
  statusLine('');
  const report: Report = {
    model: name,
    reference: referenceName ?? null,
    data,
    pairs: pairs.length,
    lossName,
    ...evaluation,
    sampled,
    answers,
  };
  const text = `${JSON.stringify(report, null, 1)}\n`;
  if (output !== undefined) replaceFile(output, (append) => append(text));
  process.stdout.write(json ? text : summary(report));
}

interface Models {
  readonly model: GPT2;
  readonly reference: GPT2 | undefined;
  readonly rewardModel: RewardModel | undefined;
  readonly tokenizer: Tokenizer;
}

/** Number of prompts between two progress reports. */
const PART = 32;

async function sample(
  { model, reference, rewardModel, tokenizer }: Models,
  pairs: readonly PairIds[],
  settings: Sampling,
): Promise<Sampled> {
  const { samples, temperature, maxNewTokens, seed } = settings;
  const chosen = new Random(seed)
    .shuffle(pairs.map((_, n) => n))
    .slice(0, settings.prompts)
    .sort((a, b) => a - b);
  const prompts = pairs.map(({ promptIds }) => promptIds);
  const draw = async (from: GPT2, what: string): Promise<Sample[]> => {
    const made: Sample[] = [];
    for (let start = 0; start < chosen.length; start += PART) {
      const part = await sampleResponses(
        from,
        tokenizer,
        prompts,
        { samples, temperature, maxNewTokens, seed: seed + start },
        chosen.slice(start, start + PART),
      );
      for (const sample of part) made.push(sample);
      statusLine(`answers of the ${what}: ${made.length} of ${chosen.length * samples}`);
    }
    return made;
  };
  const made = await draw(model, 'model');
  const lacking = (of: GPT2) => tokenizer.missingIds(of.config.vocabSize);
  const kl =
    reference &&
    answerKl(model, reference, made, {
      temperature,
      suppressTokens: lacking(model),
      referenceSuppressTokens: lacking(reference),
      batchSize: settings.batchSize,
    });
  const reward = rewardModel && rewardOf(rewardModel, { batchSize: settings.batchSize });
  const scores = reward && (await scoreSamples(made, reward));
  const others = reward && reference ? await draw(reference, 'reference') : undefined;
  const { ofSamples, ...measured } = kl ?? { ofSamples: undefined };
  return {
    prompts: chosen.length,
    samples,
    temperature,
    maxNewTokens,
    seed,
    tokens: average(made.map(({ ids }) => ids.length)),
    ended: average(made.map(({ ended }) => Number(ended))),
    kl: kl ? (measured as Omit<AnswerKl, 'ofSamples'>) : null,
    scores: scores
      ? {
          model: overPrompts(made, scores),
          reference: others ? overPrompts(others, await scoreSamples(others, reward)) : null,
        }
      : null,
    responses: made.map(({ prompt, ids, text }, n) => ({
      pair: prompt + 1,
      ids,
      text,
      kl: ofSamples?.[n] ?? null,
      score: scores?.[n] ?? null,
    })),
  };
}

async function greedy(
  { model, reference, tokenizer }: Models,
  pairs: readonly PairIds[],
  { show, maxNewTokens }: Sampling,
): Promise<Report['answers']> {
  const shown = pairs.slice(0, show);
  if (shown.length === 0) return [];
  const [prompts, numbers] = [shown.map(({ promptIds }) => promptIds), shown.map((_, n) => n)];
  const answer = async (by: GPT2) =>
    (await respond(by, tokenizer, prompts, { temperature: 0, maxNewTokens }, numbers)).map(({ text }) => text);
  const [own, others] = [await answer(model), reference && (await answer(reference))];
  const text = (ids: readonly number[]) => tokenizer.decode(ids.filter((id) => id !== tokenizer.eosTokenId));
  return shown.map(({ promptIds, chosenIds, rejectedIds }, n) => ({
    prompt: tokenizer.decode(promptIds),
    chosen: text(chosenIds),
    rejected: text(rejectedIds),
    model: own[n]!,
    reference: others?.[n] ?? null,
  }));
}

function summary({ model, reference, pairs, lossName, loss, rewards, logps, sampled, answers }: Report): string {
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const pm = ({ mean, standardError }: Measured) =>
    `${mean.toFixed(3)}${standardError === null ? '' : ` ± ${standardError.toFixed(3)}`}`;
  const lines = [
    `${plural(pairs, 'pair')}, ${model}${reference === null ? '' : ` against ${reference}`}`,
    ...(loss === null ? [] : [`  loss (${lossName})       ${loss.toFixed(4)}`]),
    ...(rewards === null
      ? []
      : [
          `  reward accuracy      ${percent(rewards.accuracies)}`,
          `  reward margin        ${rewards.margins.toFixed(4)} ` +
            `(chosen ${rewards.chosen.toFixed(4)}, rejected ${rewards.rejected.toFixed(4)})`,
        ]),
    `  log-probs            chosen ${logps.chosen.toFixed(3)}, rejected ${logps.rejected.toFixed(3)} nats; ` +
      `chosen is more likely in ${percent(logps.accuracies)}`,
  ];
  if (reference === null)
    lines.push('  loss, rewards and KL need the model that this one was trained from: give it as --reference');
  if (sampled) {
    lines.push(
      '',
      `${plural(sampled.responses.length, 'sampled answer')} to ${plural(sampled.prompts, 'prompt')}, ` +
        `at temperature ${sampled.temperature}`,
    );
    lines.push(
      `  length               ${sampled.tokens.toFixed(1)} tokens; ` +
        `${percent(sampled.ended)} ended by themselves within ${sampled.maxNewTokens}`,
    );
    if (sampled.kl)
      lines.push(`  KL to the reference  ${pm(sampled.kl)} nats an answer, ${sampled.kl.perToken.toFixed(4)} a token`);
    if (sampled.scores)
      lines.push(
        `  reward model's score ${pm(sampled.scores.model)}` +
          `${sampled.scores.reference ? `; the reference's answers ${pm(sampled.scores.reference)}` : ''}`,
      );
  }
  for (const answer of answers) {
    lines.push('', answer.prompt.trimEnd());
    for (const who of ['chosen', 'rejected', 'model', 'reference'] as const)
      if (answer[who] !== null)
        lines.push(`  ${who.padEnd(10)} ${answer[who].trim().replaceAll('\n', '\n             ')}`);
  }
  return `${lines.join('\n')}\n`;
}
