/** The command lines of package.json: each has a help; a wrong call ends with 2, and one line that says what to do. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { root } from '../scripts/paths';

const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  scripts: Readonly<Record<string, string>>;
};

/** Commands that call other programs with fixed arguments. */
const OTHERS = /^(build|typecheck|lint|format|prettier|check|test|test:(?!tensorflow|exact).*)$/;
/** Its options are JupyterLab's, which says what is wrong with them. */
const PASSED_ON = ['lab'];
/** Set-up runs before any package is there, and the Python scripts read their options by argparse. */
const OWN_FRAME = ['setup', 'gpu:pack', 'oracles'];

/** Runs a command of package.json without the set-up before it. */
function run(name: string, ...args: string[]) {
  const [program = '', ...given] = scripts[name]!.split(' && ').at(-1)!.split(' ');
  const path = program === 'node' ? process.execPath : join(root, program);
  const { status, stdout, stderr, error } = spawnSync(path, [...given, ...args], { encoding: 'utf8', cwd: root });
  return { status, stdout, stderr, isThere: error === undefined };
}

for (const name of Object.keys(scripts).filter((each) => !OTHERS.test(each)))
  test(`npm run ${name}: its help, and a wrong call`, (t) => {
    const help = run(name, '--help');
    if (!help.isThere) return t.skip('its Python is not installed');
    assert.deepEqual([help.status, help.stderr], [0, '']);
    assert.match(help.stdout, new RegExp(`^(usage: )?(npm run ${name}\\b|run\\.py)`, 'i'));
    for (const line of help.stdout.split('\n'))
      if (!OWN_FRAME.includes(name)) assert.ok(line.length <= 80 || name === 'lab', line);
    if (PASSED_ON.includes(name)) return;

    const wrong = run(name, '--hlep');
    assert.deepEqual([wrong.status, wrong.stdout], [2, '']);
    if (OWN_FRAME.includes(name)) assert.match(wrong.stderr, /--hlep/);
    else
      assert.equal(wrong.stderr, `there is no option "--hlep"; did you mean --help? See npm run ${name} -- --help\n`);
  });
