import { gpt2Folder } from '../model/folder';
import { generate, type GenerateOptions } from '../model/generate';
import { GPT2 } from '../model/gpt2';
import { chatOf } from '../text/chat';
import { Tokenizer } from '../text/tokenizer';
import { FLAG, number, options, TEXT, TEXTS, UsageError } from './usage';

export const usage = `  generate --model M --prompt TEXT
                      continues the text, token by token
      --instruct      the text is an instruction: write it by the model's chat template, or as the Alpaca prompt
      --max-new-tokens N   (default 64)
      --temperature T      0, the default, always takes the likeliest token
      --top-k K  --top-p P only the K likeliest tokens; only those that together reach the probability P
      --repetition-penalty R   above 1: what is there already becomes less likely (default 1)
      --stop TEXT          end where this text appears; may be given several times
      --seed S             of the draws (default 0)`;

export async function run(args: readonly string[]): Promise<void> {
  const known = {
    model: TEXT,
    prompt: TEXT,
    instruct: FLAG,
    'max-new-tokens': TEXT,
    temperature: TEXT,
    'top-k': TEXT,
    'top-p': TEXT,
    ...{
      'repetition-penalty': TEXT,
      stop: TEXTS,
      seed: TEXT,
    },
  } as const;
  const { model: name, prompt, instruct = false, stop = [], ...numbers } = options(args, known);
  if (name === undefined || prompt === undefined) throw new UsageError('generate needs --model and --prompt');
  const given = {
    maxNewTokens: number('max-new-tokens', numbers['max-new-tokens']),
    temperature: number('temperature', numbers.temperature),
    topK: number('top-k', numbers['top-k']),
    topP: number('top-p', numbers['top-p']),
    repetitionPenalty: number('repetition-penalty', numbers['repetition-penalty']),
    seed: number('seed', numbers.seed),
  };
  if (stop.includes('')) throw new UsageError('--stop is empty; give a text that ends the answer');
  const set = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as GenerateOptions;

  await gpt2Folder(name);
  const tokenizer = await Tokenizer.fromPretrained(name);
  const model = await GPT2.fromPretrained(name);
  const made: number[] = [];
  let printed = 0;
  /**
   * The text so far, up to a stop string. A character may take several tokens: what is not whole yet decodes as U+FFFD
   * and waits.
   */
  const text = (): string => {
    const whole = tokenizer.decode(made.filter((id) => !tokenizer.endTokenIds.includes(id)));
    const ends = stop.map((end) => whole.indexOf(end)).filter((place) => place >= 0);
    return whole.slice(0, Math.min(whole.length, ...ends));
  };
  const print = (until: number): void => {
    if (until > printed) process.stdout.write(text().slice(printed, until));
    printed = Math.max(printed, until);
  };
  const longestStop = Math.max(0, ...stop.map((end) => end.length));
  await generate(
    model,
    [tokenizer.encode(instruct ? chatOf(tokenizer.chatTemplate).prompt([{ role: 'user', content: prompt }]) : prompt)],
    {
      ...set,
      eosTokenId: tokenizer.endTokenIds,
      suppressTokens: tokenizer.missingIds(model.config.vocabSize),
      stop: () => stop.some((end) => tokenizer.decode(made).includes(end)),
      onToken: (id) => {
        made.push(id);
        print(text().replace(/\ufffd+$/, '').length - longestStop); // the end may be the beginning of a stop string
      },
    },
  );
  print(text().length);
  process.stdout.write('\n');
}
