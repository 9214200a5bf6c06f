import { replaceFile } from '../formats/replaceFile';
import { gpt2Folder } from '../model/folder';
import { RewardModel } from '../model/rewardModel';
import { scoredRows } from '../model/score';
import { readCandidates } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import { calibration } from '../training/calibration';
import { readData } from './readData';
import { FLAG, options, PATH, progress, TEXT, UsageError } from './usage';

export const usage = `  score --model M --data FILE
                      scores of responses by a reward model, one JSON line a row: {"chosen", "rejected"} for the rows of logps, {"score"}
                      for those of train-sft; of pairs, accuracy and calibration follow on the standard error
      --skip-bad      as of logps, and --batch-size N, --output FILE`;

export async function run(args: readonly string[]): Promise<void> {
  const known = { model: TEXT, data: PATH, 'skip-bad': FLAG, 'batch-size': TEXT, output: PATH } as const;
  const { model: name, data, 'skip-bad': skipBad = false, 'batch-size': size = '8', output } = options(args, known);
  if (name === undefined || data === undefined) throw new UsageError('score needs --model and --data');
  if (!/^[1-9]\d{0,5}$/.test(size)) throw new UsageError(`--batch-size must be a number from 1 up, got "${size}"`);
  await gpt2Folder(name);
  const tokenizer = await Tokenizer.fromPretrained(name);
  const model = await RewardModel.fromPretrained(name);
  const rows = await readData({ skipBad }, model.config, (rowOptions) => readCandidates(data, tokenizer, rowOptions), {
    tellMerges: false,
  });

  const margins: number[] = [];
  const write = (append: (line: string) => void): void => {
    let done = 0;
    for (const [first, second] of scoredRows(model, rows, { batchSize: Number(size) })) {
      append(`${JSON.stringify(second === undefined ? { score: first } : { chosen: first, rejected: second })}\n`);
      if (second !== undefined) margins.push(first! - second);
      done += 1;
      progress(`${done} of ${rows.length} rows`);
    }
    progress('');
  };
  if (output === undefined) write((line) => process.stdout.write(line));
  else replaceFile(output, write);
  if (margins.length === 0) return;
  const { calibrationError, brier } = calibration(margins);
  const accuracy = margins.filter((margin) => margin > 0).length / margins.length;
  console.error(
    `${margins.length} pairs: accuracy ${accuracy.toFixed(4)}, calibration error ${calibrationError.toFixed(4)}, Brier score ${brier.toFixed(4)}`,
  );
}
