/** `alignbook generate`: prints a continuation as it is sampled. */
import { gpt2Files } from '../model/folder';
import { generate } from '../model/generate';
import { GPT2 } from '../model/gpt2';
import { chatOf } from '../text/chat';
import { Tokenizer } from '../text/tokenizer';
import { withDefaults, type OptionsOf } from '../training/declare';
import { UsageError } from './commandLine';
import { generateSettings } from './commandSettings';

export async function run(settings: OptionsOf<typeof generateSettings>): Promise<void> {
  const { model: name, prompt, instruct, stop = [], ...options } = withDefaults(settings, generateSettings);
  if (stop.includes('')) throw new UsageError('--stop is empty; give a text that ends the answer');

  await gpt2Files(name);
  const tokenizer = await Tokenizer.fromPretrained(name);
  const model = await GPT2.fromPretrained(name);
  const made: number[] = [];
  let printed = 0;
  /** The text so far, up to a stop string. A character may take several tokens; until it is complete, it is U+FFFD. */
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
      ...options,
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
