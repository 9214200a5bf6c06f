/** `alignbook generate`: prints a continuation as it is sampled. */
import { answers } from '../model/answer';
import { gpt2Files } from '../model/folder';
import { GPT2 } from '../model/gpt2';
import { chatOf } from '../text/chat';
import { Tokenizer } from '../text/tokenizer';
import { withDefaults, type OptionsOf } from '../training/declare';
import { generateSettings } from './commandSettings';
import { requireStops } from './terminal';

export async function run(settings: OptionsOf<typeof generateSettings>): Promise<void> {
  const { model: name, prompt, instruct, ...options } = withDefaults(settings, generateSettings);
  requireStops(options.stop);

  await gpt2Files(name);
  const tokenizer = await Tokenizer.fromPretrained(name);
  const model = await GPT2.fromPretrained(name);
  const text = instruct ? chatOf(tokenizer.chatTemplate).prompt([{ role: 'user', content: prompt }]) : prompt;
  await answers(model, tokenizer, [tokenizer.encode(text)], {
    ...options,
    onText: (part) => process.stdout.write(part),
  });
  process.stdout.write('\n');
}
