/** The collection's kernel under the tools that people run notebooks with. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';

import { root } from '../../scripts/paths';
import { failed, named, outcomes, python, run } from '../jupyterTools';

test('jupyter_kernel_test: all that tslab has', () => {
  const found = outcomes('conformance.py', 'tslab');
  assert.deepEqual(
    named(found, (text) => text === 'ok'),
    [
      'test_completion',
      'test_display_data',
      'test_error',
      'test_execute_stderr',
      'test_execute_stdout',
      'test_inspect',
      'test_is_complete',
      'test_kernel_info',
    ],
    JSON.stringify(found),
  );
  assert.deepEqual(
    named(found, (text) => text === 'skipped'),
    ['test_clear_output', 'test_execute_result', 'test_history', 'test_pager'],
  );
});

test("nbclient's notebooks: all eighteen", () => {
  const found = outcomes('clients.py', 'tslab');
  assert.deepEqual(named(found, failed), [], JSON.stringify(found));
  assert.equal(Object.keys(found).length, 18);
});

test('a notebook that throws fails under jupyter execute and nbmake', () => {
  const broken = (name: string) => join(root, 'tests', 'broken', `${name}.ipynb`);
  const tools = {
    'jupyter execute': (path: string) => run([join(python, '..', 'jupyter-execute'), path], 'tslab'),
    nbmake: (path: string) => run(['-m', 'pytest', '-q', '-p', 'no:cacheprovider', '--nbmake', path], 'tslab'),
  };
  for (const [tool, execute] of Object.entries(tools)) {
    const clean = execute(broken('clean'));
    assert.equal(clean.status, 0, `${tool}: ${clean.stdout}${clean.stderr}`);
    for (const name of ['throws', 'unhandled-rejection', 'does-not-compile']) {
      const { status, stdout, stderr } = execute(broken(name));
      assert.equal(status, 1, `${tool} ${name}: ${stdout}${stderr}`);
    }
  }
});
