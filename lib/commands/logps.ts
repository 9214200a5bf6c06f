import { replaceFile } from '../formats/replaceFile';
import { configOf } from '../model/folder';
import { GPT2 } from '../model/gpt2';
import { scorePairs } from '../model/score';
import { readPairs } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import { readData } from './readData';
import { FLAG, options, PATH, progress, TEXT, UsageError } from './usage';

export const usage = `  logps --model M --data FILE
                      log-probs of the tokens of preference pairs, one JSON line a row; FILE holds rows {"prompt", "chosen", "rejected"},
                      texts or lists of {"role", "content"} messages, or {"instruction", "input", "chosen", "rejected"}, as JSON lines
                      or Parquet; - is JSON lines on the standard input
      --skip-bad      leave out rows that are wrong, each told on the standard error, instead of refusing the file
      --batch-size N  rows computed together (default 8)
      --output FILE   write there instead of the standard output, all or nothing`;

export async function run(args: readonly string[]): Promise<void> {
  const known = { model: TEXT, data: PATH, 'skip-bad': FLAG, 'batch-size': TEXT, output: PATH } as const;
  const { model: name, data, 'skip-bad': skipBad = false, 'batch-size': size = '8', output } = options(args, known);
  if (name === undefined || data === undefined) throw new UsageError('logps needs --model and --data');
  if (!/^[1-9]\d{0,5}$/.test(size)) throw new UsageError(`--batch-size must be a number from 1 up, got "${size}"`);
  const sizes = await configOf(name);
  const tokenizer = await Tokenizer.fromPretrained(name);
  const pairs = await readData({ skipBad }, sizes, (rowOptions) => readPairs(data, tokenizer, rowOptions), {
    tellMerges: false,
  });
  const model = await GPT2.fromPretrained(name);
  const write = (append: (line: string) => void): void => {
    let done = 0;
    for (const score of scorePairs(model, tokenizer, pairs, { batchSize: Number(size) })) {
      append(`${JSON.stringify(score)}\n`);
      done += 1;
      progress(`${done} of ${pairs.length} rows`);
    }
    progress('');
  };
  if (output === undefined) write((line) => process.stdout.write(line));
  else replaceFile(output, write);
}
