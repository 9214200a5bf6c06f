/** A loss that throws in the middle of a training step leaves no tensor behind. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { differentiate, liveTensors, responseBatch, tf, trainDpo } from 'alignbook';
import { constantCount } from 'alignbook/dist/engine/ops';

import { loadEngineModel } from './engineFixtures';

/** Not counting the constants, which are made once and kept. */
const live = () => liveTensors() - constantCount();

test('the value and the gradients of a loss, with respect to its arguments alone', () => {
  const [x, y] = [tf.tensor1d([1, 2, 3]), tf.tensor1d([4, 5, 6])];
  const once = () => differentiate([x, y], (a, b) => a.mul(b).mul(x).sum<tf.Scalar>());
  once()[Symbol.dispose](); // copies x and y into TensorFlow
  const before = live();
  {
    using loss = once();
    assert.equal(loss.value, 1 * 4 + 4 * 5 + 9 * 6);
    assert.deepEqual(
      loss.gradients.map((gradient) => [...gradient.dataSync()]),
      [
        [4, 10, 18],
        [1, 4, 9],
      ],
    );
  }
  assert.equal(live(), before);
  tf.dispose([x, y]);
});

test('a loss that throws leaves nothing behind but what its caller owns', async () => {
  const { model, expected } = await loadEngineModel('a-group');
  const batch = responseBatch(expected.rows);
  const before = live();
  assert.throws(() => {
    using pass = model.record(batch, { statistics: true });
    differentiate([pass.perTokenLogps], (logps) => {
      logps.mul(2);
      throw new Error('no such loss');
    });
  }, /^Error: no such loss$/);
  assert.equal(live(), before);
  model.dispose();
});

test('a training whose loss throws leaves nothing behind', async () => {
  const { model } = await loadEngineModel('a-group');
  // the loss asks for the length of each response
  const chosenIds = new Proxy([3, 4], {
    get: (ids, name) => {
      if (name === 'length' && tf.engine().state.gradientDepth > 0) throw new Error('no such loss');
      return Reflect.get(ids, name) as unknown;
    },
  });
  const pair = { promptIds: [1, 2], chosenIds, rejectedIds: [5] };
  const before = live();
  const steps = trainDpo(model, [pair, pair], { lr: 1e-3, steps: 1, batchSize: 2 });
  await assert.rejects(steps.next(), /^Error: no such loss$/);
  assert.equal(live(), before);
  model.dispose();
});
