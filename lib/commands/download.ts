import { progressPrinter } from '../hub/progress';
import { downloadModel } from '../model/folder';
import { UsageError } from './usage';

export const makesFiles = true;

export const usage = `  download MODEL      a model of the Hugging Face hub (gpt2, distilgpt2, ORGANISATION/NAME, with @REVISION to pin one) into
                      Hugging Face's cache, shared with Python; prints its folder. First use in a notebook does the same`;

export async function run(args: readonly string[]): Promise<void> {
  const [model, ...others] = args;
  if (model === undefined || model.startsWith('-') || others.length > 0)
    throw new UsageError('download takes one model');
  console.log(await downloadModel(model, { onProgress: progressPrinter(process.stderr) }));
}
