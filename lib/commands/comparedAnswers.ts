/** Two models' or two files' answers to the same prompts, judged: what the commands judge and winrate share. */
import { FileError, InputError, plural, quoted } from '../errors';
import { configOf } from '../model/folder';
import { GPT2 } from '../model/gpt2';
import { largest } from '../ranges';
import { readPrompts, readResponses } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import { requireWindow } from '../training/checks';
import { withDefaults, type OptionsOf } from '../training/declare';
import type { ResponsePair } from '../training/judge';
import { judgeAll, type Judged } from '../training/judging';
import { keptJudge } from '../training/keptJudge';
import { sampleResponses, type Sample } from '../training/rollout';
import { UsageError } from './commandLine';
import { dataSettings } from './commandSettings';
import { winrateSettings, type judgeSettings } from './judgeSettings';
import { loadJudge } from './loadJudge';
import { readData } from './readData';
import { statusLine } from './terminal';

type Settings = OptionsOf<typeof judgeSettings> | OptionsOf<typeof winrateSettings>;

export interface Compared {
  /** The names of the two sides. */
  readonly names: readonly [string, string];
  readonly judged: readonly Judged[];
  /** For each of them, whether the two responses were cut at maxNewTokens. */
  readonly cut: readonly (readonly [boolean, boolean])[];
  readonly tokenizer: Tokenizer;
}

/**
 * @param options.twice whether one model alone is compared with itself.
 * @throws UsageError if it is not clear what is compared; InputError or FileError if something does not fit.
 */
export async function comparedAnswers(settings: Settings, { twice }: { twice: boolean }): Promise<Compared> {
  const { output, bothOrders, concurrency } = withDefaults(settings, winrateSettings);
  if (settings.bothOrders !== undefined && settings.judgeUrl === undefined)
    console.error('note: bothOrders has no effect without judgeUrl; scores do not depend on the order');
  const { names, tokenizer, longest, answers } =
    settings.answers === undefined ? await ofModels(settings, twice) : await ofFiles(settings);
  // Before the answers are made, which takes long: whatever is wrong with the judge is told now.
  const { judge, identity } = await loadJudge(settings, tokenizer, longest);
  const kept = output === undefined ? judge : keptJudge(judge, `${output}.judgements.jsonl`, identity);
  try {
    const { pairs, cut } = await answers();
    const judged = await judgeAll(kept, pairs, {
      bothOrders,
      concurrency: settings.judgeUrl === undefined ? 1 : concurrency,
      onProgress: (done) => statusLine(`judged ${done} of ${plural(pairs.length, 'pair')}`),
    });
    return { names, judged, cut, tokenizer };
  } finally {
    statusLine('');
  }
}

interface Answers {
  readonly pairs: readonly ResponsePair[];
  readonly cut: Compared['cut'];
}

interface Sides extends Pick<Compared, 'names' | 'tokenizer'> {
  /** Tokens that a prompt with a response has, at most, with the response's end. */
  readonly longest: number;
  readonly answers: () => Promise<Answers>;
}

/** Prompts between two progress reports. */
const PART = 32;

async function ofModels(settings: Settings, twice: boolean): Promise<Sides> {
  const { model: name, data, otherAnswers } = settings;
  if (name === undefined || data === undefined || otherAnswers !== undefined)
    throw new UsageError('give --model and --data, or --answers and --other-answers');
  if (settings.against === undefined && !twice) throw new UsageError('--against is missing: the model to compare with');
  const { against = name, temperature, maxNewTokens, seed } = withDefaults(settings, winrateSettings);
  const tokenizer = await Tokenizer.fromPretrained(name);
  const prompts = await readData({ ...settings, maxLength: undefined }, await configOf(name), (rows) =>
    readPrompts(data, tokenizer, { ...rows, maxNewTokens }),
  );
  const longest = largest(prompts.map(({ length }) => length)) + maxNewTokens;
  if (against !== name) {
    requireWindow('against', against, await configOf(against), longest, 'lower maxNewTokens, or give another model');
    await requireSameTokens(name, tokenizer, against, prompts);
  }
  const sample = { temperature, maxNewTokens, seed };
  const answers = () => sampledAnswers([name, against], tokenizer, prompts, sample);
  return { names: [name, against], tokenizer, longest: longest + 1, answers };
}

/** @throws InputError if the other model's tokenizer reads the ids of the prompts otherwise. */
async function requireSameTokens(
  name: string,
  tokenizer: Tokenizer,
  against: string,
  prompts: readonly (readonly number[])[],
): Promise<void> {
  const its = await Tokenizer.fromPretrained(against);
  if (prompts.some((ids) => its.decode(ids) !== tokenizer.decode(ids)))
    throw new InputError(
      `${name} and ${against} have different tokenizers; write their answers to files, and give these as answers and ` +
        'otherAnswers',
    );
}

async function sampledAnswers(
  [name, against]: readonly [string, string],
  tokenizer: Tokenizer,
  prompts: readonly (readonly number[])[],
  { temperature, maxNewTokens, seed }: { temperature: number; maxNewTokens: number; seed: number },
): Promise<Answers> {
  const model = await GPT2.fromPretrained(name);
  const other = against === name ? model : await GPT2.fromPretrained(against);
  const made: [Sample[], Sample[]] = [[], []];
  for (let start = 0; start < prompts.length; start += PART) {
    const indices = prompts.slice(start, start + PART).map((_, n) => start + n);
    for (const [side, from] of [model, other].entries()) {
      // each side has seeds of its own, so that one model compared with itself gives two samples
      const sampling = { temperature, maxNewTokens, seed: (2 * (seed + start) + side) % 2 ** 32 };
      made[side]!.push(...(await sampleResponses(from, tokenizer, prompts, sampling, indices)));
    }
    statusLine(`answered ${Math.min(start + PART, prompts.length)} of ${plural(prompts.length, 'prompt')}`);
  }
  for (const each of new Set([model, other])) each.dispose();
  const all = made.flat();
  const cut = all.filter(({ ended }) => !ended).length;
  if (cut > 0) {
    statusLine('');
    console.error(
      `note: ${cut} of ${plural(all.length, 'answer')} were cut at maxNewTokens, and are judged as they are; ` +
        'a larger maxNewTokens lets them end',
    );
  }
  return {
    pairs: prompts.map((ids, n) => ({ prompt: tokenizer.decode(ids), a: made[0][n]!.text, b: made[1][n]!.text })),
    cut: prompts.map((_, n) => [!made[0][n]!.ended, !made[1][n]!.ended]),
  };
}

async function ofFiles(settings: Settings): Promise<Sides> {
  const { model = dataSettings.model.default, data, against, answers, otherAnswers } = settings;
  if (otherAnswers === undefined || data !== undefined || against !== undefined)
    throw new UsageError('--answers goes with --other-answers, and with neither --data nor --against');
  const tokenizer = await Tokenizer.fromPretrained(model);
  const read = async (file: string) => {
    const rows = await readData(settings, await configOf(model), (some) => readResponses(file, tokenizer, some), {
      tellMerges: false,
    });
    return rows.map(({ promptIds, responses: [ids = []] }) => ({
      prompt: tokenizer.decode(promptIds),
      response: tokenizer.decode(ids.filter((id) => !tokenizer.endTokenIds.includes(id))),
    }));
  };
  const [first, second] = [await read(answers!), await read(otherAnswers)];
  if (first.length !== second.length)
    throw new InputError(
      `${answers} has ${plural(first.length, 'response')} and ${otherAnswers} ${second.length}; ` +
        'give answers to the same prompts, in the same order',
    );
  const differs = first.findIndex(({ prompt }, n) => prompt !== second[n]!.prompt);
  if (differs >= 0)
    throw new FileError(
      otherAnswers,
      `response ${differs + 1} is to the prompt ${quoted(second[differs]!.prompt)}, that of ${answers} to ` +
        `${quoted(first[differs]!.prompt)}; give answers to the same prompts, in the same order`,
    );
  const pairs = first.map(({ prompt, response }, n) => ({ prompt, a: response, b: second[n]!.response }));
  const tokens = (text: string) => tokenizer.encode(text).length;
  return {
    names: [answers!, otherAnswers],
    tokenizer,
    longest: largest(pairs.map(({ prompt, a, b }) => tokens(prompt) + Math.max(tokens(a), tokens(b)) + 1)),
    answers: () => Promise.resolve({ pairs, cut: pairs.map(() => [false, false] as const) }),
  };
}
