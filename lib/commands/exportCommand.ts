/** `alignbook export`: writes a model folder. */
import { mayReplace, recoverFolder } from '../formats/replace';
import { exportModel } from '../model/export';
import { gpt2Files } from '../model/folder';
import { GPT2 } from '../model/gpt2';
import { hasScoreHead, RewardModel } from '../model/rewardModel';
import { withDefaults, type OptionsOf } from '../training/declare';
import { exportSettings } from './commandSettings';

export async function run(settings: OptionsOf<typeof exportSettings>): Promise<void> {
  const { model: name, out, dtype, force } = withDefaults(settings, exportSettings);
  recoverFolder(out);
  mayReplace(out, { force });
  const kind = hasScoreHead((await gpt2Files(name)).folder) ? RewardModel : GPT2;
  await exportModel(await kind.fromPretrained(name), out, { source: name, dtype, force });
  console.log(`${name} is in ${out}, as ${dtype}`);
}
