/** What plain tslab does under the same tools: why the collection has a kernel of its own. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { failed, named, outcomes } from '../jupyterTools';

test('jupyter_kernel_test: three of its tests fail', () => {
  assert.deepEqual(named(outcomes('conformance.py', 'plain'), failed), [
    'test_error',
    'test_is_complete',
    'test_kernel_info',
  ]);
});

test("nbclient's notebooks: eight of eighteen fail", () => {
  assert.deepEqual(named(outcomes('clients.py', 'plain'), failed), [
    'allowed_by_name',
    'allowed_errors',
    'error',
    'interrupt',
    'raises_after_raises',
    'raises_exception',
    'rejection',
    'top_level_await',
  ]);
});
