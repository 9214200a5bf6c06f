/** `alignbook download`: fetches a model and prints its folder. */
import { progressPrinter } from '../hub/progress';
import { downloadModel } from '../model/folder';
import type { OptionsOf } from '../training/declare';
import type { downloadSettings } from './commandSettings';

export async function run({ model }: OptionsOf<typeof downloadSettings>): Promise<void> {
  console.log(await downloadModel(model, { onProgress: progressPrinter(process.stderr) }));
}
