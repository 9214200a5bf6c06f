import { replaceFile } from '../formats/replace';
import { gpt2Folder } from '../model/folder';
import { RewardModel } from '../model/rewardModel';
import { scoredRows } from '../model/score';
import { readCandidates } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import { calibration } from '../training/calibration';
import { withDefaults, type OptionsOf } from '../training/declare';
import { logpsSettings } from './commandSettings';
import { readData } from './readData';
import { statusLine } from './terminal';

export async function run(settings: OptionsOf<typeof logpsSettings>): Promise<void> {
  const { model: name, data, skipBad, batchSize, output } = withDefaults(settings, logpsSettings);
  await gpt2Folder(name);
  const tokenizer = await Tokenizer.fromPretrained(name);
  const model = await RewardModel.fromPretrained(name);
  const rows = await readData({ skipBad }, model.config, (rowOptions) => readCandidates(data, tokenizer, rowOptions), {
    tellMerges: false,
  });

  const margins: number[] = [];
  const write = (append: (line: string) => void): void => {
    let done = 0;
    for (const [first, second] of scoredRows(model, rows, { batchSize })) {
      append(`${JSON.stringify(second === undefined ? { score: first } : { chosen: first, rejected: second })}\n`);
      if (second !== undefined) margins.push(first! - second);
      done += 1;
      statusLine(`${done} of ${rows.length} rows`);
    }
    statusLine('');
  };
  if (output === undefined) write((line) => process.stdout.write(line));
  else replaceFile(output, write);
  if (margins.length === 0) return;
  const { calibrationError, brier } = calibration(margins);
  const accuracy = margins.filter((margin) => margin > 0).length / margins.length;
  console.error(
    `${margins.length} pairs: accuracy ${accuracy.toFixed(4)}, ` +
      `calibration error ${calibrationError.toFixed(4)}, Brier score ${brier.toFixed(4)}`,
  );
}
