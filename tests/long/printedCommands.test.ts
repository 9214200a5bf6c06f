/**
 * Runs every command and every code fence that README, docs/, data/, lib/README and the notebooks print, in reading
 * order, in the folder that `Place` makes. NOT_RUN lists the exceptions with their reasons; printed.test.ts runs the
 * Python.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { root } from '../../scripts/paths';
import { Place, RUN, USAGE_ONLY } from '../printedRun';
import { printedCommands, printedFences, type Fence } from '../printedText';

const DOCKER_RUN = [
  'docker run --rm --init --gpus all --publish 127.0.0.1:8888:8888',
  '--volume alignbook:/home/node/.cache/huggingface alignbook',
].join(' ');
const HH = 'hf:Anthropic/hh-rlhf';
const OF_HUB = 'needs the hub; tests/dataSets.test.ts downloads from one of its own';
const NOT_RUN: Readonly<Record<string, string>> = {
  'docker build --tag alignbook .': 'needs docker: npm run test:containers',
  [DOCKER_RUN]: 'needs docker: npm run test:containers',
  'npm run setup -- --cuda && npm run gpu:check': 'needs a GPU; gpuRehearsal.test.ts runs the check without one',
  'npx alignbook score --serve --model ./runs/reward/model': 'serves until it is interrupted: scoreServer.test.ts',
  'npx alignbook handoff --config run.json --out DIR': 'names in capitals: handoff.test.ts',
  'torchrun --standalone --nproc_per_node 4 DIR/train.py': 'npm run test:distributed',
  'npx alignbook handoff --check DIR/out/trajectory.json --against DIR': 'names in capitals: handoff.test.ts',
  'npx alignbook help COMMAND': 'a name in capitals: usage.test.ts',
  'npx alignbook --help COMMAND': 'a name in capitals: usage.test.ts',
  'npx alignbook download gpt2': 'needs the hub; tests/hub.test.ts downloads from one of its own',
  [`npx alignbook data ${HH}`]: OF_HUB,
  [`npx alignbook data "${HH}@main/harmless-base#test" --limit 1000 --shuffle-seed 0`]: OF_HUB,
  [[
    `npx alignbook train-dpo --model gpt2 --data ${HH}/harmless-base --validation "${HH}/harmless-base#test"`,
    '--skip-bad --output runs/hh --epochs 1 --lr 1e-5',
  ].join(' ')]: OF_HUB,
  'npm run setup -- --cuda': 'downloads 5 GB',
  'cd ../elsewhere': 'needs a folder outside: package.test.ts',
  'npm install --ignore-scripts ./alignbook-0.1.0.tgz': 'package.test.ts',
  'npx alignbook setup': 'only where the package is installed: package.test.ts',
  'npx alignbook setup --check': 'only where the package is installed: package.test.ts',
  'npx alignbook train-sft --config data/models/tiny/train-sft.json': 'writes to data/models/tiny',
};

/** Languages of fences that are only read. */
const READ_ONLY = ['', 'python', 'bibtex', 'text', 'mermaid'];

const place = new Place();
after(() => place.remove());
const fences = printedFences();
const commands = printedCommands();

/** Paths in a notebook's text are relative to its folder, those in its `sh` fences to the project's folder. */
const folderOf = ({ document }: Fence) =>
  document.startsWith('notebooks/') ? join(place.folder, 'notebooks') : place.folder;

test('every exception is printed somewhere, and the npm scripts that are run or print their usage exist', () => {
  for (const text of Object.keys(NOT_RUN))
    assert.ok(
      commands.some((command) => command.text === text),
      `no document prints ${text} any more`,
    );
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: object };
  for (const [name, file] of Object.entries({ ...USAGE_ONLY, ...RUN }))
    assert.ok(Object.hasOwn(scripts, name) && existsSync(join(root, file)), name);
});

test('every fence has a language that is run, or one that is only read', () => {
  const known = ['sh', 'ts', 'js', 'json', ...READ_ONLY];
  for (const { language, where } of fences) assert.ok(known.includes(language), `${where}: a fence of ${language}`);
  assert.ok(fences.filter(({ language }) => language === 'ts').length >= 4);
  assert.ok(commands.length > 40);
});

test('JSON and JavaScript are valid, and become the files that the sentence before them names', () => {
  for (const { language, text, where, file } of fences.filter(
    ({ language }) => language === 'json' || language === 'js',
  )) {
    assert.ok(file, `${where}: the sentence before it names no file`);
    writeFileSync(join(place.folder, file), text);
    if (language === 'json') assert.doesNotThrow(() => JSON.parse(text), where);
  }
  const reward = createRequire(__filename)(join(place.folder, 'reward.js')) as (samples: object[]) => number[];
  // By hand: courteous and ended, curt, cut off.
  assert.deepEqual(
    reward([
      { text: 'Gladly.', ended: true },
      { text: "Obviously 'x'.", ended: true },
      { text: 'Gladly', ended: false },
    ]),
    [1, 0, 0],
  );
});

const done = new Set<string>();
for (const { text, where } of commands) {
  if (Object.hasOwn(NOT_RUN, text) || done.has(text)) continue;
  done.add(text);
  test(`${where}: ${text}`, () => {
    // A name in a sentence is not a call: `npx alignbook score` must be listed by the usage.
    const [, name] = /^npx alignbook (\w[\w-]*)$/.exec(text) ?? [];
    if (name !== undefined && !['doctor', 'help'].includes(name))
      return assert.match(
        place.shell('npx alignbook --help').stdout,
        // The trainings share one entry, whose text names them.
        name.startsWith('train-') ? new RegExp(` ${name}(?![\\w-])`) : new RegExp(`^ +${name}\\b`, 'm'),
      );
    const { status, stdout, stderr } = place.shell(text);
    // It exits with 1 if something optional is missing.
    if (text === 'npm run setup -- --check') return assert.match(stdout, /^node +ok/m);
    assert.equal(status, 0, `${stdout}\n${stderr}`);
    if (text.startsWith('npx alignbook generate')) assert.match(stdout, /[a-z]{3,}/, 'words, rather than signs');
    return undefined;
  });
}

test('TypeScript compiles against the package, and runs', () => {
  const files = fences
    .filter(({ language }) => language === 'ts')
    .map((fence, n) => {
      const path = join(folderOf(fence), `fence${n}.mts`);
      writeFileSync(path, fence.text.replace(/\bsteps: 50\b/, 'steps: 2').replace(/\bbatchSize: 16\b/, 'batchSize: 2'));
      return { path, where: fence.where, cwd: folderOf(fence) };
    });
  const options = [
    '--ignoreConfig',
    '--target',
    'es2022',
    '--module',
    'node16',
    '--moduleResolution',
    'node16',
    '--strict',
    '--skipLibCheck',
    '--types',
    'node',
  ];
  const compiled = spawnSync(
    process.execPath,
    [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), ...options, ...files.map(({ path }) => path)],
    { cwd: place.folder, encoding: 'utf8' },
  );
  assert.equal(compiled.status, 0, compiled.stdout);
  for (const { path, where, cwd } of files) {
    const { status, stderr } = spawnSync(process.execPath, [path.replace(/\.mts$/, '.mjs')], { cwd, encoding: 'utf8' });
    assert.equal(status, 0, `${where}\n${stderr}`);
  }
});
