/** `npm run tutorial` on a copy of the collection, as it is and with mistakes. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { root } from '../../scripts/paths';

const out = mkdtempSync(join(tmpdir(), 'tutorial-'));
after(() => rmSync(out, { recursive: true, force: true }));

/** A copy of the collection's commands in which files may be edited; links lead to what set-up installed. */
function tutorial(
  edits: Readonly<Record<string, (text: string) => string>>,
  ...notebooks: string[]
): ReturnType<typeof spawnSync> {
  const folder = join(out, 'copy');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  for (const name of ['notebooks', 'tests', 'scripts', '.alignbook/build/scripts'])
    cpSync(join(root, name), join(folder, name), { recursive: true });
  for (const name of ['node_modules', '.alignbook/python'])
    spawnSync('ln', ['-s', join(root, name), join(folder, name)]);
  for (const [path, edit] of Object.entries(edits))
    writeFileSync(join(folder, path), edit(readFileSync(join(folder, path), 'utf8')));
  return spawnSync(process.execPath, [join(folder, '.alignbook/build/scripts/tutorial.js'), ...notebooks], {
    encoding: 'utf8',
  });
}

/** The text with its matches replaced. There must be at least one match; otherwise the test would prove nothing. */
const replaced = (pattern: RegExp, by: string) => (text: string) => {
  assert.match(text, pattern);
  return text.replace(pattern, by);
};

test(
  "npm run tutorial: values that match end with a table and 0; a model's folder is given from where the command " +
    'runs',
  () => {
    const { status, stdout } = tutorial({}, '01');
    assert.match(`${stdout}`, /^01-tokenize\.ipynb +In 1-5 .* ok$/m);
    assert.equal(status, 0);
    for (const name of ['01-tokenize.ipynb', '01-tokenize.html'])
      assert.ok(existsSync(join(out, 'copy', 'executed', name)));

    // With or without ./; the kernel runs in notebooks/.
    cpSync(join(root, 'data', 'models', 'tiny'), join(out, 'my-gpt2'), { recursive: true });
    const env = { ...process.env, MODEL: 'my-gpt2', INIT_CWD: out };
    const other = spawnSync(process.execPath, [join(out, 'copy', '.alignbook/build/scripts/tutorial.js'), '01'], {
      encoding: 'utf8',
      env,
    });
    assert.equal(other.status, 0, other.stderr);
    assert.ok(other.stdout.includes(`model: ${join(out, 'my-gpt2')}\n`), other.stdout);
  },
);

test(
  'npm run tutorial: a changed digit and an edited cell are reported with notebook, source cell, expected and got, ' +
    'and end with 1',
  () => {
    const { status, stdout } = tutorial(
      {
        'tests/expected/01-tokenize.json': replaced(/50256/, '50255'),
        'notebooks/02-pad-and-mask.ipynb': replaced(/paddedRejected\.arraySync/g, 'paddedChosen.arraySync'),
      },
      '01',
      '02',
    );
    assert.match(
      `${stdout}`,
      /^01-tokenize\.ipynb, In 5 \(cell in-5\): what it printed differs\n  expected  50255 .*\n  got       50256 /m,
    );
    assert.match(`${stdout}`, /^01-tokenize\.ipynb .* 1 wrong$/m);
    assert.match(`${stdout}`, /^02-pad-and-mask\.ipynb, In 9 \(cell in-9\): what it printed differs$/m);
    assert.equal(status, 1);
  },
);
