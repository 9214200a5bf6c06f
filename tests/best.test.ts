import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Best, InputError } from 'alignbook';

const step = (n: number, loss?: number, accuracies = 0) => ({
  step: n,
  ...(loss !== undefined && { validation: { loss, rewards: { accuracies } } }),
});

test('the best validation has the lowest loss, the first of equal ones; steps without one do not count', () => {
  const best = new Best({ patience: 2 });
  assert.equal(best.step, undefined);
  const seen = [step(1), step(2, 0.6), step(3), step(4, 0.4), step(5, 0.4), step(6)].map((each) => best.see(each));
  assert.deepEqual(seen, [false, true, false, true, false, false]);
  assert.deepEqual([best.step, best.exhausted], [4, false]);
  best.see(step(7, 0.5));
  assert.deepEqual([best.step, best.exhausted], [4, true]);
});

test('for other metrics higher is better; NaN never is; without patience it never stops', () => {
  const best = new Best({ bestBy: 'rewards/accuracies' });
  const seen = [step(1, 1, 0.5), step(2, 2, 0.75), step(3, 0, NaN), step(4, 0, 0.75), step(5, 9, 1)].map((each) =>
    best.see(each),
  );
  assert.deepEqual(seen, [true, true, false, false, true]);
  assert.equal(best.exhausted, false);
});

test('an unknown metric and a patience of 0 are refused', () => {
  const isInput = (message: RegExp) => (error: unknown) => error instanceof InputError && message.test(error.message);
  assert.throws(
    () => new Best({ bestBy: 'rewards' }).see(step(1, 1)),
    isInput(/^bestBy: the validation has no "rewards"; it has loss, rewards\/accuracies$/),
  );
  assert.throws(() => new Best({ patience: 0 }), isInput(/^patience must be a whole number from 1 up, got 0$/));
});

test("for a reward model's calibration errors, as for the loss, lower is better", () => {
  for (const bestBy of ['brier', 'calibrationError']) {
    const best = new Best({ bestBy });
    assert.deepEqual(
      [0.2, 0.3, 0.1].map((value, n) => best.see({ step: n + 1, validation: { loss: 1, [bestBy]: value } })),
      [true, false, true],
    );
  }
});
