/** `alignbook logps`: prints the log-probs of the tokens of pairs. */
import { plural } from '../errors';
import { replaceFile } from '../formats/replace';
import { configOf } from '../model/folder';
import { GPT2 } from '../model/gpt2';
import { scorePairs } from '../model/score';
import { readPairs } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import { withDefaults, type OptionsOf } from '../training/declare';
import { logpsSettings } from './commandSettings';
import { readData } from './readData';
import { statusLine } from './terminal';

export async function run(settings: OptionsOf<typeof logpsSettings>): Promise<void> {
  const { model: name, data, batchSize, output } = withDefaults(settings, logpsSettings);
  const sizes = await configOf(name);
  const tokenizer = await Tokenizer.fromPretrained(name);
  const pairs = await readData(settings, sizes, (rowOptions) => readPairs(data, tokenizer, rowOptions), {
    tellMerges: false,
  });
  const model = await GPT2.fromPretrained(name);
  const write = (append: (line: string) => void): void => {
    let done = 0;
    for (const score of scorePairs(model, tokenizer, pairs, { batchSize })) {
      append(`${JSON.stringify(score)}\n`);
      done += 1;
      statusLine(`${done} of ${plural(pairs.length, 'row')}`);
    }
    statusLine('');
  };
  if (output === undefined) write((line) => process.stdout.write(line));
  else replaceFile(output, write);
}
