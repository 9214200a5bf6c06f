/** `alignbook download`: fetches a model and prints its folder, or a data set and prints its files. */
import { dataSetFiles, isDataSetName } from '../hub/dataSet';
import { progressPrinter } from '../hub/progress';
import { downloadModel } from '../model/folder';
import type { OptionsOf } from '../training/declare';
import type { downloadSettings } from './commandSettings';

export async function run({ model, configName }: OptionsOf<typeof downloadSettings>): Promise<void> {
  const onProgress = progressPrinter(process.stderr);
  if (!isDataSetName(model)) return console.log(await downloadModel(model, { onProgress }));
  const { files, description } = await dataSetFiles(model, { configName, check: true, onProgress });
  console.error(description);
  for (const { path } of files) console.log(path);
}
