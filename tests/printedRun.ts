/**
 * A folder in which the commands that the documents print run in seconds, as they would in the project's own folder:
 * data/ with the first rows of each file, the embedded model, and an `npx` and an `npm` that run this project's
 * commands, with fewer steps where they train.
 */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

import { root } from '../scripts/paths';

/** Rows that a file of data/ keeps. */
const ROWS = 24;

/** Options added to a training command, or replaced in it; nothing else differs from the printed command. */
const OVERRIDES: readonly {
  readonly command: RegExp;
  readonly drop?: readonly string[];
  readonly add: readonly string[];
}[] = [
  {
    command: /^train-(sft|dpo|kto|reward)$/,
    drop: ['--epochs', '--steps', '--batch-size', '--warmup-steps'],
    add: ['--steps', '2', '--batch-size', '4', '--warmup-steps', '1'],
  },
  {
    command: /^train-ppo$/,
    drop: ['--steps', '--batch-size', '--max-new-tokens'],
    add: ['--steps', '2', '--batch-size', '4', '--max-new-tokens', '8'],
  },
  {
    command: /^train-(grpo|online-dpo)$/,
    drop: ['--steps', '--batch-size', '--max-new-tokens'],
    add: ['--steps', '2', '--batch-size', '2', '--max-new-tokens', '8'],
  },
];
/** Models that only the hub has, and what replaces them. */
const MODELS = { gpt2: 'tiny' } as const;

/** npm scripts of which only the usage is printed: each takes minutes, and has its own tests. */
export const USAGE_ONLY: Readonly<Record<string, string>> = {
  tutorial: '.alignbook/build/scripts/tutorial.js',
  book: '.alignbook/build/scripts/book/book.js',
  frontier: '.alignbook/build/scripts/frontier/frontier.js',
  ingredients: '.alignbook/build/scripts/ingredients/ingredients.js',
  bench: '.alignbook/build/scripts/bench/bench.js',
  'bench:growth': '.alignbook/build/scripts/bench/growth.js',
  'bench:memory': '.alignbook/build/scripts/bench/memory.js',
  'bench:splits': '.alignbook/build/scripts/bench/splits.js',
  data: '.alignbook/build/scripts/data/prepare.js',
  'gpu:check': '.alignbook/build/scripts/gpu/check.js',
  kernel: '.alignbook/build/scripts/userKernel.js',
  test: '.alignbook/build/scripts/test.js',
  lab: 'scripts/lab.mjs',
  package: '.alignbook/build/scripts/package.js',
};
/** npm scripts that run as printed. */
export const RUN: Readonly<Record<string, string>> = {
  evaluate: '.alignbook/build/scripts/evaluate.js',
  notebook: '.alignbook/build/scripts/notebook.js',
  setup: 'scripts/setup.mjs',
};

const NPX = `#!/usr/bin/env node
const { spawnSync } = require('node:child_process');
const [root, overrides, models] = ${'$CONFIG'};
const [name, command, ...given] = process.argv.slice(2);
if (name !== 'alignbook') throw new Error('npx runs alignbook only, not ' + name);
const override = given.includes('--help') ? undefined : overrides.find((one) => new RegExp(one.command).test(command));
const kept = given.map((arg, n) => (given[n - 1] === '--model' && Object.hasOwn(models, arg) ? models[arg] : arg));
const isDropped = (arg, n) => override.drop.includes(arg) || override.drop.includes(kept[n - 1]);
const args = override ? [...kept.filter((arg, n) => !isDropped(arg, n)), ...override.add] : kept;
const all = [root + '/lib/bin/alignbook.js', ...(command === undefined ? [] : [command]), ...args];
process.exitCode = spawnSync(process.execPath, all, { stdio: 'inherit' }).status;
`;

const NPM = `#!/usr/bin/env node
const { spawnSync } = require('node:child_process');
const [root, usageOnly, run, scripts] = ${'$CONFIG'};
const given = process.argv.slice(2);
const name = given[0] === 'test' ? 'test' : given[1];
const args = given.slice(given[0] === 'test' ? 1 : 2).filter((arg) => arg !== '--');
if (!(given[0] === 'test' || given[0] === 'run') || !Object.hasOwn(scripts, name))
  throw new Error('package.json has no script for: npm ' + given.join(' '));
const env = { ...process.env, INIT_CWD: process.cwd() };
const node = (file, more) => {
  process.exitCode = spawnSync(process.execPath, [root + '/' + file, ...more], { stdio: 'inherit', env }).status;
};
if (Object.hasOwn(run, name)) node(run[name], args);
else if (Object.hasOwn(usageOnly, name)) node(usageOnly[name], ['--help']);
else console.log('npm ' + given.join(' ') + ': there is such a script');
`;

export class Place {
  /** Inside the project, so that Node and TypeScript find the package. */
  readonly folder = mkdtempSync(join(root, '.alignbook', 'printed-'));

  constructor() {
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: object };
    this.#fewRows('data');
    mkdirSync(join(this.folder, 'notebooks'));
    copyFileSync(join(root, 'tests', 'broken', 'clean.ipynb'), join(this.folder, 'notebooks', 'mine.ipynb'));
    mkdirSync(join(this.folder, 'bin'));
    const shim = (name: string, text: string, config: readonly unknown[]) => {
      writeFileSync(
        join(this.folder, 'bin', name),
        text.replace('$CONFIG', () => JSON.stringify(config)),
      );
      chmodSync(join(this.folder, 'bin', name), 0o755);
    };
    shim('npx', NPX, [
      root,
      OVERRIDES.map(({ command, drop = [], add }) => ({ command: command.source, drop, add })),
      MODELS,
    ]);
    shim('npm', NPM, [root, USAGE_ONLY, RUN, scripts]);
  }

  #fewRows(path: string): void {
    mkdirSync(join(this.folder, path));
    for (const entry of readdirSync(join(root, path), { withFileTypes: true })) {
      const [from, to] = [join(root, path, entry.name), join(this.folder, path, entry.name)];
      if (entry.isDirectory() && entry.name !== 'tiny') this.#fewRows(join(path, entry.name));
      else if (entry.name.endsWith('.jsonl'))
        writeFileSync(to, readFileSync(from, 'utf8').split('\n').slice(0, ROWS).join('\n') + '\n');
      else symlinkSync(from, to);
    }
  }

  /** Runs a line in the shell, as a reader would type it. */
  shell(line: string): { status: number | null; stdout: string; stderr: string } {
    const env = { ...process.env, PATH: `${join(this.folder, 'bin')}:${process.env['PATH']}`, HF_HUB_OFFLINE: '1' };
    const { status, stdout, stderr } = spawnSync('bash', ['-euo', 'pipefail', '-c', line], {
      cwd: this.folder,
      env,
      encoding: 'utf8',
      maxBuffer: 2 ** 26,
    });
    return { status, stdout, stderr };
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
