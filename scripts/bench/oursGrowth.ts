/**
 * A contender of growth.ts: steps of SFT on rows of random ids, a quarter of which belong to the response; and the
 * machine's fastest product.
 */
import { GPT2, initialWeights, profile, Random, trainSft, Weights } from 'alignbook';
import { release } from 'alignbook/dist/engine/handle';
import { floats } from 'alignbook/dist/engine/ops';
import { matmul } from 'alignbook/dist/engine/products';

import { GPT2_SMALL, responseOf, type GrowthResult, type GrowthTask } from './growthTask';
import { inTurns } from './protocol';

/** Operations per second of a product as large as the model's, the fastest of many. */
function productsPeak(): number {
  const [N, K, M] = [1024, 768, 3072];
  const random = new Random(1);
  const matrix = (rows: number, columns: number) =>
    floats(
      Float32Array.from({ length: rows * columns }, () => random.normal()),
      [rows, columns],
    );
  const [x, y] = [matrix(N, K), matrix(K, M)];
  let least = Infinity;
  for (let n = 0; n < 20; n += 1) {
    const start = performance.now();
    release(matmul(x, y));
    least = Math.min(least, (performance.now() - start) / 1000);
  }
  release(x, y);
  return (2 * N * K * M) / least;
}

async function main({ layers, batch, tokens }: GrowthTask): Promise<void> {
  const config = { ...GPT2_SMALL, nLayer: layers };
  const random = new Random(1);
  const model = new GPT2(config, Weights.from(initialWeights(config, random), config));
  const ids = (count: number) => Array.from({ length: count }, () => random.integer(config.vocabSize));
  const rows = Array.from({ length: batch }, () => ({
    promptIds: ids(tokens - responseOf(tokens)),
    responses: [ids(responseOf(tokens))],
  }));
  const steps = trainSft(model, rows, { steps: 1e6, batchSize: batch, lr: 1e-6, schedule: 'constant' });
  const fastest = productsPeak();
  await inTurns(async (): Promise<GrowthResult> => {
    const { seconds, ops } = await profile(() => steps.next());
    return { fastest, profile: { seconds, ops } };
  });
}

void main(JSON.parse(process.argv[2]!) as GrowthTask);
