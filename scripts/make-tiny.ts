/**
 * Writes `tiny`, the stand-in for a trained model: a seeded random GPT-2 with the true vocabulary, the same bytes on
 * every machine. Usage: node make-tiny.js FOLDER
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { configJson, Random, weightShapes, writeSafetensors, type GPT2Config } from 'alignbook';

const SEED = 20305;
const CONFIG: GPT2Config = { nLayer: 4, nHead: 4, nEmbd: 128, blockSize: 256, vocabSize: 50257, layerNormEpsilon: 1e-5 };
const SHA256 = 'd6d77af954c6b66e6af4195a92f6641f0a398559d76c9e90cde3b1db26920f84';

/**
 * Far wider than GPT-2's own initialization (0.02), with which every token would be as likely as any other, and a wrong
 * log-prob would look like a right one.
 */
const STANDARD_DEVIATION = 0.1;

function main(folder: string): void {
  mkdirSync(folder, { recursive: true });
  const random = new Random(SEED);
  const tensors = [...weightShapes(CONFIG)].map(([name, shape]) => {
    const centre = /ln_\w+\.weight$/.test(name) ? 1 : 0; // a layer norm's weight scales
    const size = shape.reduce((product, length) => product * length, 1);
    return { name, shape, values: Float32Array.from({ length: size }, () => centre + STANDARD_DEVIATION * random.normal()) };
  });

  const weights = join(folder, 'model.safetensors');
  writeSafetensors(weights, tensors);
  const sha256 = createHash('sha256').update(readFileSync(weights)).digest('hex');
  if (sha256 !== SHA256) {
    rmSync(weights);
    throw new Error(`${weights} came out as sha256 ${sha256}, expected ${SHA256}: this Node computes other random numbers`);
  }

  const config = join(folder, 'config.json'); // last: a folder with a config.json is a whole model
  writeFileSync(`${config}.tmp`, configJson(CONFIG));
  renameSync(`${config}.tmp`, config);
}

const folder = process.argv[2];
if (folder === undefined) {
  console.error('usage: node make-tiny.js FOLDER');
  process.exitCode = 2;
} else {
  main(folder);
}
