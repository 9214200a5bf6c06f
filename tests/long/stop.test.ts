/** The stop button pressed at five moments after a cell's await, 20 times each. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { stoppedAfter } from '../stopCells';

for (const milliseconds of [0, 1, 2, 5, 50]) {
  test(`${milliseconds} ms after an await: 20 of 20`, () =>
    assert.deepEqual(stoppedAfter(milliseconds, 20), Array(20).fill('Interrupted')));
}
