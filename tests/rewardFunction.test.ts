/**
 * Reward functions written by users, in a separate thread: every way in which one can fail gives one line that names
 * the file.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';

import { FileError, weightedRewards, type Sample } from 'alignbook';
import { loadRewardFunction } from 'alignbook/dist/commands/rewardFunction';

import { matching } from './matching';

const folder = mkdtempSync(join(__dirname, 'reward-function-')); // in the project, to find its packages
after(() => rmSync(folder, { recursive: true }));

const samples: Sample[] = ['a', 'bad', 'c'].map((text, prompt) => ({
  prompt,
  promptIds: [1],
  ids: [2, 3],
  text,
  ended: true,
}));

const file = (name: string, code: string): string => {
  writeFileSync(join(folder, name), code);
  return join(folder, name);
};

async function scores(name: string, code: string): Promise<readonly number[]> {
  using loaded = await loadRewardFunction(file(name, code), { tell: () => undefined });
  return await loaded.reward(samples);
}

const failing: readonly (readonly [code: string, message: RegExp])[] = [
  [
    'module.exports = (all) => all.map(({ text }) => {\n  if (text === "bad") throw new RangeError("no such ' +
      'word");\n  return 1;\n});',
    /^FILE: the reward function failed in line 2, on sample 1, "bad": RangeError: no such word$/,
  ],
  [
    'let calls = 0; module.exports = () => { if (++calls === 1) throw new Error("the first"); return [1]; };',
    /^FILE: the reward function failed in line 1, on 3 samples: Error: the first$/,
  ],
  ['module.exports = () => { throw null; };', /^FILE: the reward function failed, on sample 0, "a": null$/],
  [
    'module.exports = async () => Promise.reject(new Error("no judge"));',
    /^FILE: the reward function failed in line 1, on sample 0, "a": Error: no judge$/,
  ],
  [
    'module.exports = () => null;',
    /^FILE: reward gave null for 3 samples; it must give a list with one number for each$/,
  ],
  [
    'module.exports = (all) => { all.map(() => 1); };',
    /^FILE: reward gave undefined for 3 samples; it must give a list/,
  ],
  ['module.exports = () => 1;', /^FILE: reward gave 1 for 3 samples; it must give a list/],
  ['module.exports = () => "123";', /^FILE: reward gave 123 for 3 samples; it must give a list/],
  [
    'module.exports = () => ({ length: 3, 0: 1, 1: 1, 2: 1 });',
    /^FILE: reward gave \[object Object\] for 3 samples; it must give a list/,
  ],
  ['module.exports = () => [1, 2];', /^FILE: reward gave 2 scores for 3 samples; it must give one for each$/],
  [
    'module.exports = () => [1, undefined, 3];',
    /^FILE: reward gave undefined for sample 1, "bad"; it must give a finite number$/,
  ],
  ['module.exports = () => [1, "2", 3];', /^FILE: reward gave 2 for sample 1, "bad"; it must give a finite number$/],
  ['module.exports = () => [1, 2, NaN];', /^FILE: reward gave NaN for sample 2, "c"; it must give a finite number$/],
  [
    'module.exports = () => new Float32Array([1, 2, 1 / 0]);',
    /^FILE: reward gave Infinity for sample 2, "c"; it must give a finite number$/,
  ],
  [
    'module.exports = () => [1, 2, 1e39];',
    matching(
      /^FILE: reward gave 1e\+39 for sample 2, "c"; scores beyond 1000000000000000 overflow in a/,
      / group's deviation: scale them down$/,
    ),
  ],
  ['module.exports = () => [() => 1, 2, 3];', /^FILE: the reward function failed, on 3 samples: DataCloneError: /],
  [
    'module.exports = () => process.exit(0);',
    /^FILE: the reward function ended the process \(process\.exit\(0\)\); throw an error instead$/,
  ],
  [
    'module.exports = () => { setTimeout(() => { throw new Error("later"); }); return new Promise(() => {}); };',
    /^FILE: the reward function ended with an error that it did not handle: later$/,
  ],
  ['exports.score = () => [];', /^FILE: exports no function; write module\.exports = /],
  ['module.exports = (', /^FILE: cannot be loaded as a module \(Unexpected end of input\)$/],
  ['process.exit(3);', /^FILE: the reward function ended the process \(process\.exit\(3\)\)/],
];

for (const [n, [code, message]] of failing.entries()) {
  test(`one line that names the file: ${code.replaceAll('\n', ' ')}`, async () => {
    const name = `failing-${n}.cjs`;
    await assert.rejects(scores(name, code), (error) => {
      assert.ok(error instanceof FileError, String(error));
      assert.match(error.message.replace(join(folder, name), 'FILE'), message);
      return true;
    });
  });
}

test('what goes wrong between two calls is said at the next one', async () => {
  const between: readonly (readonly [code: string, message: RegExp])[] = [
    [
      'let n = 0; module.exports = (all) => { if (++n === 1) setTimeout(() => { throw new Error("late"); }, 20); ' +
        'return all.map(() => n); };',
      /^FILE: the reward function ended with an error that it did not handle: late$/,
    ],
    [
      'let n = 0; module.exports = (all) => { if (++n === 1) void Promise.reject(new Error("left alone")); ' +
        'return all.map(() => n); };',
      /^FILE: the reward function ended with an error that it did not handle: left alone$/,
    ],
    [
      'let n = 0; module.exports = (all) => { if (++n === 1) setTimeout(() => process.exit(0), 20); return ' +
        'all.map(() => n); };',
      /^FILE: the reward function ended the process \(process\.exit\(0\)\); throw an error instead$/,
    ],
  ];
  for (const [n, [code, message]] of between.entries()) {
    const path = file(`between-${n}.cjs`, code);
    using loaded = await loadRewardFunction(path, { tell: (text) => assert.fail(text) });
    assert.deepEqual(await loaded.reward(samples), [1, 1, 1]);
    await wait(300);
    await assert.rejects(
      async () => loaded.reward(samples),
      (error) => error instanceof FileError && message.test(error.message.replace(path, 'FILE')),
    );
  }
});

test('lists, promises, typed arrays, modules of either kind, and the library itself', async () => {
  assert.deepEqual(
    await scores('list.cjs', 'module.exports = (all) => all.map(({ text }) => text.length);'),
    [1, 3, 1],
  );
  assert.deepEqual(
    await scores('promise.mjs', 'export default async (all) => all.map(({ prompt }) => -prompt / 2);'),
    [-0, -0.5, -1],
  );
  assert.deepEqual(await scores('typed.cjs', 'module.exports = () => Float32Array.of(0.5, 1, 2);'), [0.5, 1, 2]);
  assert.deepEqual(
    await scores(
      'compiled.cjs',
      'Object.defineProperty(exports, "__esModule", { value: true }); exports.default = () => [1, 2, 3];',
    ),
    [1, 2, 3],
  );
  const usingTensors =
    "const { tf } = require('alignbook'); module.exports = (all) => tf.tensor1d(all.map(({ ids }) => " +
    'ids[1])).square().arraySync();';
  assert.deepEqual(await scores('library.cjs', usingTensors), [9, 9, 9]);
});

test('one that does not return is named after a while, and the wait for it can be ended', async () => {
  for (const code of [
    'module.exports = () => new Promise(() => setInterval(() => {}, 1000));',
    'module.exports = () => new Promise(() => {});',
    'module.exports = () => { for (;;); };',
  ]) {
    const path = file('never.cjs', code);
    const interruption = new AbortController();
    const told: string[] = [];
    using loaded = await loadRewardFunction(path, {
      signal: interruption.signal,
      patience: 50,
      tell: (text) => {
        told.push(text);
        interruption.abort(new Error('interrupted'));
      },
    });
    await assert.rejects(async () => loaded.reward(samples), /^Error: interrupted$/);
    assert.deepEqual(told, [
      `${path}: the reward function has not returned for 0 s; Ctrl-C saves the last step and ends`,
    ]);
  }
});

test('of a sum of rewards the one that fails is named', async () => {
  using loaded = await loadRewardFunction(file('sum.cjs', 'module.exports = () => [NaN, 1, 1];'), {
    tell: () => undefined,
  });
  const sum = weightedRewards([
    { reward: () => [1, 1, 1], weight: 1 },
    { reward: loaded.reward, weight: 1 },
  ]);
  await assert.rejects(async () => sum(samples), /sum\.cjs: reward gave NaN for sample 0/);
});
