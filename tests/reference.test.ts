import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import {
  FileError,
  InputError,
  keptReferenceLogps,
  liveTensors,
  referenceLogps,
  trainDpo,
  type DpoInputs,
  type PairIds,
} from 'alignbook';

import { root } from '../scripts/paths';
import { loadEngineModel } from './engineFixtures';

const folder = mkdtempSync(join(tmpdir(), 'reference-'));
after(() => rmSync(folder, { recursive: true }));
const { pairs } = (
  JSON.parse(readFileSync(join(root, 'tests', 'fixtures', 'training.json'), 'utf8')) as {
    dpo: { pairs: PairIds[] };
  }
).dpo;

test('kept log-probs equal computed ones and are found again; other models or pairs get other files', async () => {
  const { model } = await loadEngineModel('one-head');
  let computed = 0;
  const kept = (some: readonly PairIds[]) =>
    keptReferenceLogps(join(folder, 'kept'), model, some, { onProgress: () => (computed += 1) });
  const first = kept(pairs.slice(0, 20));
  assert.deepEqual(first, referenceLogps(model, pairs.slice(0, 20)));
  assert.equal(computed, 2);
  assert.deepEqual(kept(pairs.slice(0, 20)), first);
  assert.equal(computed, 2, 'read, not computed');
  kept(pairs.slice(0, 19));
  const values = model.weights.values('ln_f.bias');
  values[0]! += 1e-3;
  model.weights.assign('ln_f.bias', values);
  assert.notDeepEqual(kept(pairs.slice(0, 20)), first);
  assert.equal(readdirSync(join(folder, 'kept')).length, 3);
  model.dispose();
});

test('a killed computation continues after its last complete batch, with the same bits', async () => {
  const { model } = await loadEngineModel('one-head');
  const some = pairs.slice(0, 20);
  const expected = keptReferenceLogps(join(folder, 'undisturbed'), model, some, { batchSize: 4 });
  const [name] = readdirSync(join(folder, 'undisturbed')) as [string];
  assert.throws(
    () =>
      keptReferenceLogps(join(folder, 'killed'), model, some, {
        batchSize: 4,
        onProgress: (done) => {
          if (done === 12) throw new Error('killed');
        },
      }),
    /killed/,
  );
  const [partial] = readdirSync(join(folder, 'killed')) as [string];
  const gone = spawnSync('true').pid; // as if the process that wrote it had ended in the middle of a pair
  appendFileSync(join(folder, 'killed', partial), Buffer.alloc(11, 1));
  renameSync(join(folder, 'killed', partial), join(folder, 'killed', `${name}.${gone}.partial`));
  const done: number[] = [];
  assert.deepEqual(
    keptReferenceLogps(join(folder, 'killed'), model, some, { batchSize: 4, onProgress: (count) => done.push(count) }),
    expected,
  );
  assert.deepEqual(done, [16, 20]);
  assert.deepEqual(readdirSync(join(folder, 'killed')), [name]);
  model.dispose();
});

test('a damaged file is refused with the remedy', async () => {
  const { model } = await loadEngineModel('one-head');
  keptReferenceLogps(join(folder, 'damaged'), model, pairs.slice(0, 3));
  const [file] = readdirSync(join(folder, 'damaged')) as [string];
  writeFileSync(join(folder, 'damaged', file), 'x');
  assert.throws(
    () => keptReferenceLogps(join(folder, 'damaged'), model, pairs.slice(0, 3)),
    (error) => error instanceof FileError && error.path.endsWith(file),
  );
  model.dispose();
});

test('a live reference trains as its log-probs do, and neither leaves a tensor behind', async () => {
  const { model: reference } = await loadEngineModel('one-head');
  const options = { steps: 6, batchSize: 8, lr: 3e-3, epsilon: 1e-4, validateEvery: 3 };
  const [some, validation] = [pairs.slice(0, 100), { pairs: pairs.slice(100, 110) }];
  const trained = async (inputs: DpoInputs) => {
    const { model } = await loadEngineModel('one-head');
    const live = liveTensors();
    const losses: number[] = [];
    for await (const { loss, validation: held } of trainDpo(model, some, options, { ...inputs, validation }))
      losses.push(loss, ...(held ? [held.loss] : []));
    kept = liveTensors() - live;
    model.dispose();
    return losses;
  };
  let kept = 0;
  await trained({}); // creates the constants
  const [precomputed, live] = [await trained({}), await trained({ reference })];
  assert.equal(kept, 0);
  assert.equal(live.length, 8);
  // batches of 8 instead of 16: rounding
  live.forEach((loss, n) => assert.ok(Math.abs(loss - precomputed[n]!) < 1e-6, `${loss} instead of ${precomputed[n]}`));
  await assert.rejects(
    trained({ reference: referenceLogps(reference, pairs.slice(0, 99)) }),
    (error) =>
      error instanceof InputError &&
      error.message.endsWith('the reference has log-probs of 99 pairs, but there are 100'),
  );
  reference.dispose();
});
