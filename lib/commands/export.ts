import { mayReplace, recoverFolder } from '../formats/replaceFolder';
import { FLOAT_DTYPES } from '../formats/safetensorsWriter';
import { exportModel } from '../model/export';
import { gpt2Folder } from '../model/folder';
import { GPT2 } from '../model/gpt2';
import { hasScoreHead, RewardModel } from '../model/rewardModel';
import { FLAG, options, PATH, TEXT, UsageError } from './usage';

export const makesFiles = true;

export const usage = `  export --model M --out DIR
                      a Hugging Face folder that transformers opens, of a language or a reward model
      --dtype D       F32 (default), F16 or BF16
      --force         replace the model folder that is there`;

export async function run(args: readonly string[]): Promise<void> {
  const {
    model: name,
    out,
    dtype: asked = 'F32',
    force = false,
  } = options(args, { model: TEXT, out: PATH, dtype: TEXT, force: FLAG });
  if (name === undefined || out === undefined) throw new UsageError('export needs --model and --out');
  const dtype = FLOAT_DTYPES.find((known) => known === asked);
  if (dtype === undefined) throw new UsageError(`--dtype must be one of ${FLOAT_DTYPES.join(', ')}, got "${asked}"`);
  recoverFolder(out);
  mayReplace(out, { force });
  const kind = hasScoreHead(await gpt2Folder(name)) ? RewardModel : GPT2;
  await exportModel(await kind.fromPretrained(name), out, { source: name, dtype, force });
  console.log(`${name} is in ${out}, as ${dtype}`);
}
