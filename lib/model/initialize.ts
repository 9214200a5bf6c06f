/** The weights of a GPT-2 before any training. */
import { totalmem } from 'node:os';

import { InputError } from '../errors';
import type { GPT2Config } from '../formats/config';
import type { Random } from '../random';
import { weightShapes } from './weights';

/**
 * As GPT-2 was begun (https://github.com/openai/gpt-2, and Radford et al. 2019, section 2.3): normal with standard
 * deviation
 * 0.02, the projections into the residual stream divided by sqrt(2 nLayer), biases 0, norms 1.
 *
 * @throws InputError if the machine has no memory for so many.
 */
export function initialWeights(config: GPT2Config, random: Random): Map<string, Float32Array> {
  const { nLayer, nEmbd: C, nInner = 4 * C, vocabSize, blockSize } = config;
  const bytes = 4 * (nLayer * C * (4 * C + 2 * nInner) + (vocabSize + blockSize) * C);
  if (bytes > totalmem())
    throw new InputError(
      `a model of ${nLayer} layers of ${C}, ${vocabSize} tokens and ${blockSize} positions has ${(bytes / 1e9).toPrecision(3)} GB of weights, and this machine ${(totalmem() / 1e9).toPrecision(3)} GB of memory; make config.json's sizes smaller`,
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
