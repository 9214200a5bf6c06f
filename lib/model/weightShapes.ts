/** The names and shapes of GPT-2's weights, and their values before any training. */
import { totalmem } from 'node:os';

import { InputError, plural } from '../errors';
import type { GPT2Config } from '../formats/config';
import type { Random } from '../random';

/** A reward model's scalar head, as transformers' GPT2ForSequenceClassification names it. */
export const SCORE_HEAD = 'score.weight';

/** The head of a language model where it is not tied to the embedding, `wte.weight`. */
export const LM_HEAD = 'lm_head.weight';

/**
 * The name and shape of every weight, in the order of the forward pass. Matrices are [in, out], except the heads, which
 * are [out, in].
 */
export function weightShapes(
  { nLayer, nEmbd: C, nInner = 4 * C, blockSize, vocabSize, untiedHead }: GPT2Config,
  { scoreHead = false } = {},
): Map<string, readonly number[]> {
  const norm = (name: string) =>
    [
      [`${name}.weight`, [C]],
      [`${name}.bias`, [C]],
    ] as const;
  const linear = (name: string, from: number, to: number) =>
    [
      [`${name}.weight`, [from, to]],
      [`${name}.bias`, [to]],
    ] as const;
  const blocks = Array.from({ length: nLayer }, (_, layer) => `h.${layer}`).flatMap((h) => [
    ...norm(`${h}.ln_1`),
    ...linear(`${h}.attn.c_attn`, C, 3 * C),
    ...linear(`${h}.attn.c_proj`, C, C),
    ...norm(`${h}.ln_2`),
    ...linear(`${h}.mlp.c_fc`, C, nInner),
    ...linear(`${h}.mlp.c_proj`, nInner, C),
  ]);
  return new Map<string, readonly number[]>([
    ['wte.weight', [vocabSize, C]],
    ['wpe.weight', [blockSize, C]],
    ...blocks,
    ...norm('ln_f'),
    ...(untiedHead && !scoreHead ? [[LM_HEAD, [vocabSize, C]] as const] : []),
    ...(scoreHead ? [[SCORE_HEAD, [1, C]] as const] : []),
  ]);
}

/** The prefixes that torch's DistributedDataParallel and torch.compile add wherever they wrap: a model or a block. */
const WRAPPERS = /(?<=^|\.)(module|_orig_mod)\./g;

/** GPT-2's own name of a checkpoint's tensor. */
export const weightName = (key: string): string => key.replace(WRAPPERS, '').replace(/^transformer\./, '');

/**
 * GPT-2's initialization (https://github.com/openai/gpt-2, and Radford et al. 2019, section 2.3): normal with standard
 * deviation 0.02, the projections into the residual stream divided by sqrt(2 nLayer), biases 0, norms 1.
 *
 * @throws InputError if the machine has too little memory.
 */
export function initialWeights(config: GPT2Config, random: Random): Map<string, Float32Array> {
  const { nLayer, nEmbd: C, nInner = 4 * C, vocabSize, blockSize } = config;
  const bytes = 4 * (nLayer * C * (4 * C + 2 * nInner) + (vocabSize + blockSize) * C);
  if (bytes > totalmem())
    throw new InputError(
      `a model of ${plural(nLayer, 'layer')} of ${C}, ${plural(vocabSize, 'token')} and ` +
        `${plural(blockSize, 'position')} has ` +
        `${(bytes / 1e9).toPrecision(3)} GB of weights, and this machine ${(totalmem() / 1e9).toPrecision(3)} GB of ` +
        "memory; make config.json's sizes smaller",
    );
  const residual = 0.02 / Math.sqrt(2 * config.nLayer);
  return new Map(
    [...weightShapes(config)].map(([name, shape]) => {
      const values = new Float32Array(shape.reduce((product, length) => product * length, 1));
      if (shape.length > 1) {
        const deviation = name.endsWith('c_proj.weight') ? residual : 0.02;
        values.forEach((_, i) => (values[i] = deviation * random.normal()));
      } else if (/ln_\w+\.weight$/.test(name)) values.fill(1);
      return [name, values];
    }),
  );
}
