/**
 * What a training has done is not lost: not at its end, not by a kill, a closed terminal, a full disk, a damaged file
 * or a reward function.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import {
  exportModel,
  GPT2,
  initialWeights,
  Random,
  readConfig,
  RewardModel,
  Tokenizer,
  Weights,
  writeSafetensors,
} from 'alignbook';
import { RunFolder } from 'alignbook/dist/commands/runFolder';

import { root } from '../scripts/paths';
import { matching } from './matching';
import { writeLetterModel } from './rollouts';

const CLI = join(root, 'lib', 'bin', 'alignbook.js');
const folder = mkdtempSync(join(tmpdir(), 'kept-'));
const at = (...names: string[]) => join(folder, ...names);
after(() => rmSync(folder, { recursive: true }));
before(async () => {
  await writeLetterModel(at('letters'));
  writeOther(at('other'), 9);
  await writeScorer(at('scorer'), 1);
  // An unfinished run with checkpoints of steps 6 and 9, and the whole run that it is compared with.
  ok(run(dpo('whole')));
  cpSync(at('whole'), at('unfinished'), { recursive: true });
  rmSync(at('unfinished', 'model'), { recursive: true });
});

/** The same architecture with other weights. */
function writeOther(path: string, seed: number): void {
  cpSync(at('letters'), path, { recursive: true });
  const values = initialWeights(readConfig(join(path, 'config.json')), new Random(seed));
  writeSafetensors(
    join(path, 'model.safetensors'),
    [...values].map(([name, of]) => ({ name, shape: shapes().get(name)!, values: of })),
  );
}
const shapes = () => {
  const config = readConfig(at('letters', 'config.json'));
  const weights = Weights.from(initialWeights(config, new Random(0)), config);
  const found = new Map(weights.names.map((name) => [name, weights.shape(name)]));
  weights.dispose();
  return found;
};

async function writeScorer(path: string, seed: number): Promise<void> {
  const base = await GPT2.fromPretrained(at('letters'));
  const scorer = RewardModel.begin(base, new Random(seed));
  rmSync(path, { recursive: true, force: true });
  await exportModel(scorer, path, { source: at('letters') });
  for (const model of [scorer, base]) model.dispose();
}

const file = (name: string, text: string): string => {
  writeFileSync(at(name), text);
  return at(name);
};
const pairs = file(
  'pairs.jsonl',
  ['ab', 'cd', 'ef', 'gh', 'ij', 'kl']
    .map((prompt, n) => JSON.stringify({ prompt, chosen: `a${n}`, rejected: `b${n}c` }))
    .join('\n'),
);

/** Options in `more` take the place of the others. */
function dpo(output: string, ...more: string[]): string[] {
  const options: Record<string, string> = {
    model: at('letters'),
    data: pairs,
    output: at(output),
    steps: '12',
    'batch-size': '2',
    lr: '1e-3',
    'save-every': '3',
  };
  for (let n = 0; n < more.length; n += 2) options[more[n]!.slice('--'.length)] = more[n + 1]!;
  return [CLI, 'train-dpo', ...Object.entries(options).flatMap(([name, value]) => [`--${name}`, value])];
}
const grpo = (output: string, reward: string, ...more: string[]) => [
  CLI,
  'train-grpo',
  '--model',
  at('letters'),
  '--data',
  pairs,
  '--output',
  at(output),
  '--steps',
  '6',
  '--batch-size',
  '2',
  '--group-size',
  '2',
  '--max-new-tokens',
  '4',
  '--lr',
  '1e-3',
  '--reward-function',
  reward,
  ...more,
];
const run = (args: readonly string[]) => spawnSync(process.execPath, args, { encoding: 'utf8' });
const limited = (kilobytes: number, args: readonly string[]) =>
  spawnSync('bash', ['-c', `ulimit -f ${kilobytes}; exec "$0" "$@"`, process.execPath, ...args], { encoding: 'utf8' });
const sha256 = (output: string) =>
  createHash('sha256')
    .update(readFileSync(at(output, 'model', 'model.safetensors')))
    .digest('hex');
const losses = (output: string) =>
  readFileSync(at(output, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { loss: number }).loss);
const ok = ({ status, stderr }: { status: number | null; stderr: string }) =>
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });

/** Runs until so many steps are written, and sends a signal. */
async function stopped(
  args: readonly string[],
  output: string,
  steps: number,
  signal: NodeJS.Signals,
): Promise<{ status: number | null; stdout: string }> {
  const child = spawn(process.execPath, args);
  let stdout = '';
  child.stdout.on('data', (chunk) => (stdout += chunk));
  const closed = once(child, 'close') as Promise<[number | null]>;
  const written = () =>
    existsSync(at(output, 'metrics.jsonl'))
      ? readFileSync(at(output, 'metrics.jsonl'), 'utf8').split('\n').length - 1
      : 0;
  while (child.exitCode === null && written() < steps) await new Promise((resolve) => setTimeout(resolve, 2));
  child.kill(signal);
  return { status: (await closed)[0], stdout };
}

const unfinished = (output: string): string => {
  cpSync(at('unfinished'), at(output), { recursive: true });
  return at(output);
};
const isWhole = (output: string) => {
  assert.equal(sha256(output), sha256('whole'));
  assert.deepEqual(losses(output), losses('whole'));
  assert.deepEqual(readdirSync(at(output)).sort(), readdirSync(at('whole')).sort());
};

test('a model whose tokenizer is vocab.json and merges.txt alone is trained to the end, and exported', async () => {
  const tokenizer = JSON.parse(readFileSync(at('letters', 'tokenizer.json'), 'utf8')) as { model: { vocab: object } };
  cpSync(at('letters'), at('plain'), { recursive: true });
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) rmSync(at('plain', name));
  writeFileSync(at('plain', 'vocab.json'), JSON.stringify(tokenizer.model.vocab));
  writeFileSync(at('plain', 'merges.txt'), '#version: 0.2\n');
  ok(run(dpo('of-plain', '--model', at('plain'))));
  assert.equal(sha256('of-plain'), sha256('whole'));
  const [before, after] = [
    await Tokenizer.fromPretrained(at('plain')),
    await Tokenizer.fromPretrained(at('of-plain', 'model')),
  ];
  assert.deepEqual(after.encode('abcxyz'), before.encode('abcxyz'));
});

test('what the export needs is missing: told before the first step', () => {
  cpSync(at('letters'), at('without'), { recursive: true });
  rmSync(at('without', 'tokenizer.json'));
  const { status, stderr } = run(dpo('of-without', '--model', at('without')));
  assert.equal(status, 1);
  assert.match(stderr, /^alignbook: .*without\/tokenizer\.json: is missing, and so are vocab\.json and merges\.txt/);
  assert.ok(!existsSync(at('of-without', 'metrics.jsonl')));
});

test('no room for the model: all steps are saved, and the same command writes it without another step', () => {
  // Adapters and their moments are small; the merged model, larger than the limit, is not.
  const lora = (output: string) => dpo(output, '--lora-rank', '1', '--save-every', '100');
  const bytes = readFileSync(at('letters', 'model.safetensors')).length;
  const full = limited(Math.floor(bytes / 1024) - 4, lora('full'));
  assert.equal(full.status, 1);
  assert.match(
    full.stderr,
    matching(
      /^alignbook: .*full\/model: cannot be written \(EFBIG.*\); all 12 steps are saved, and the same/,
      / command writes the model once that is mended$/m,
    ),
  );
  assert.deepEqual(
    readdirSync(at('full'))
      .map((name) => name.replace(/-[0-9a-f]{16}/, '-…'))
      .sort(),
    // the adapter is small, and whole
    [
      'adapter',
      'checkpoint-00000012',
      'metrics.jsonl',
      'reference-….safetensors',
      'run-settings.json',
      'samples.jsonl',
    ],
  );
  const again = run(lora('full'));
  ok(again);
  assert.match(
    again.stdout,
    matching(
      /^going on after step 12 of 12\n12 steps in 0 s; the model is in .*full\/model\n/,
      /the adapter alone, as PEFT reads it, is in .*full\/adapter\n/,
      /prompt {2}".*"\nbefore {2}".*"\nafter {3}".*"\n$/,
    ),
  );
  ok(run(lora('roomy')));
  assert.equal(sha256('full'), sha256('roomy'));
  assert.deepEqual(
    readdirSync(at('full')).filter((name) => name.startsWith('checkpoint')),
    [],
  );
});

test('no room for a checkpoint of the last step, but for the model, which is smaller: the run is complete', () => {
  const bytes = readFileSync(at('letters', 'model.safetensors')).length;
  const { status, stdout } = limited(Math.ceil((1.5 * bytes) / 1024), dpo('narrow', '--save-every', '100'));
  assert.equal(status, 0);
  assert.match(stdout, /^12 steps in .*; the model is in/m);
  assert.equal(sha256('narrow'), sha256('whole'));
});

test('more room than the disk has: told before the first step', () => {
  using run = new RunFolder(at('huge'), { keep: 2, best: undefined });
  assert.throws(
    () => run.requireRoom(2 ** 60),
    matching(
      /huge has too little room: the run needs \d+ MB, \d+ MB more than there is; free some space, or/,
      / give an output folder on another disk$/,
    ),
  );
  run.requireRoom(1);
});

test('killed between the two renames of a replacement: finished, or taken back, at the next start', () => {
  const newest = (path: string) => join(path, 'checkpoint-00000009');
  const taken = unfinished('taken-back');
  renameSync(newest(taken), `${newest(taken)}.4321.old`);
  const back = run(dpo('taken-back'));
  ok(back);
  assert.match(back.stdout, /^going on after step 9 of 12$/m);
  isWhole('taken-back');

  const model = unfinished('finished'); // the model had been written whole, and waited for its name
  cpSync(at('whole', 'model'), `${join(model, 'model')}.4321.tmp`, { recursive: true });
  cpSync(at('letters'), `${join(model, 'model')}.4321.old`, { recursive: true });
  assert.match(run(dpo('finished')).stderr, /finished\/model exists already: this run is complete/);
  isWhole('finished');

  cpSync(at('letters'), `${at('exported')}.4321.old`, { recursive: true }); // by the next command that opens it
  ok(run([CLI, 'logps', '--model', at('exported'), '--data', pairs]));
});

test('a closed output does not end a training, nor does a hang-up lose its steps', async () => {
  const piped = spawnSync('bash', ['-c', '"$0" "$@" 2>&1 | head -1', process.execPath, ...dpo('piped')], {
    encoding: 'utf8',
  });
  assert.match(piped.stdout, /^step 1 of 12 .*\n$/);
  for (let waited = 0; !existsSync(at('piped', 'model')) && waited < 10_000; waited += 50)
    await new Promise((resolve) => setTimeout(resolve, 50));
  isWhole('piped');

  const { status, stdout } = await stopped(
    dpo('hung-up', '--steps', '300', '--save-every', '1000'),
    'hung-up',
    2,
    'SIGHUP',
  );
  assert.equal(status, 130);
  assert.match(stdout, /^interrupted; step \d+ is saved in .*hung-up, and the same command goes on from there$/m);
});

test('a damaged checkpoint is passed over for an older one, said; of none that is whole nothing is begun', () => {
  const damages: readonly (readonly [how: string, damage: (path: string) => void, said: RegExp])[] = [
    [
      'cut',
      (path) => truncateSync(join(path, 'optimizer.safetensors'), 1000),
      /optimizer\.safetensors: is damaged: 1000 bytes, \d+ were written/,
    ],
    [
      'changed',
      (path) => flip(join(path, 'model.safetensors')),
      /model\.safetensors: is damaged: its bytes are not those that were written/,
    ],
    [
      'unreadable',
      (path) => writeFileSync(join(path, 'training.json'), '{'),
      /training\.json: cannot be read as JSON \(.*\)/,
    ],
  ];
  for (const [how, damage, said] of damages) {
    damage(join(unfinished(how), 'checkpoint-00000009'));
    const { status, stdout, stderr } = run(dpo(how));
    assert.equal(status, 0, stderr);
    assert.match(stderr, new RegExp(`^checkpoint-00000009 is passed over: .*${said.source}\n$`));
    assert.match(stdout, /^going on after step 6 of 12$/m);
    isWhole(how);
  }
  const path = unfinished('none');
  for (const name of ['checkpoint-00000006', 'checkpoint-00000009']) flip(join(path, name, 'model.safetensors'));
  const { status, stderr } = run(dpo('none'));
  assert.equal(status, 1);
  assert.match(
    stderr,
    matching(
      /^alignbook: .*none: has no checkpoint to go on from \(checkpoint-00000009,/,
      / checkpoint-00000006\); remove them to begin again, or give another output folder$/m,
    ),
  );
  assert.deepEqual(losses('none'), losses('whole'), 'and nothing is taken away');
});

/** Another last byte. */
function flip(path: string): void {
  const bytes = readFileSync(path);
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(path, bytes);
}

test('the weights of the best step are checked, too: without them the run goes back before that step', async () => {
  const best = (output: string) =>
    dpo(
      output,
      '--validation',
      pairs,
      '--validate-every',
      '2',
      '--best-by',
      'rewards/margins',
      '--keep',
      '9',
      '--save-every',
      '1',
    );
  ok(run(best('best-whole')));
  const { status } = await stopped(best('best-damaged'), 'best-damaged', 7, 'SIGINT');
  assert.equal(status, 130);
  const kept = readdirSync(at('best-damaged')).filter((name) => name.startsWith('best-'));
  const newest = kept.sort().at(-1)!;
  flip(at('best-damaged', newest, 'model.safetensors'));
  const { status: again, stdout, stderr } = run(best('best-damaged'));
  assert.equal(again, 0, stderr);
  assert.match(stderr, new RegExp(`is passed over: .*${newest}/model\\.safetensors: is damaged`));
  assert.match(stdout, new RegExp(`^going on after step ${Number(newest.slice(5)) - 1} of 12$`, 'm'));
  assert.equal(sha256('best-damaged'), sha256('best-whole'));
});

test('other contents under the same names are another run, named', async () => {
  const resumed = (output: string, args: string[], saved: string, said: RegExp) => {
    rmSync(at(output, 'model'), { recursive: true });
    assert.ok(existsSync(at(output, saved)), saved);
    const { status, stderr } = run(args);
    assert.equal(status, 1);
    assert.match(
      stderr,
      new RegExp(
        `${saved}/training\\.json: belongs to a run with other data or options \\(${said.source}\\); give ` +
          'another output folder',
      ),
    );
    assert.ok(!existsSync(at(output, 'model')));
  };
  const args = (name: string) => dpo(name, '--model', at(`${name}-model`), '--reference', at(`${name}-reference`));
  for (const name of ['changed-model', 'changed-reference']) {
    for (const part of ['model', 'reference']) cpSync(at('letters'), at(`${name}-${part}`), { recursive: true });
    ok(run(args(name)));
    cpSync(at('other', 'model.safetensors'), at(`${name}-${name.slice(8)}`, 'model.safetensors'));
  }
  resumed('changed-model', args('changed-model'), 'checkpoint-00000009', /model has other contents/);
  resumed(
    'changed-reference',
    args('changed-reference'),
    'checkpoint-00000009',
    /reference has other contents; referenceLogps has other contents/,
  );

  const kept = dpo('changed-logps');
  ok(run(kept));
  const logps = readdirSync(at('changed-logps')).find((name) => name.startsWith('reference-'))!;
  const bytes = readFileSync(at('changed-logps', logps));
  bytes.writeFloatLE(-7, bytes.length - 4);
  writeFileSync(at('changed-logps', logps), bytes);
  resumed('changed-logps', kept, 'checkpoint-00000009', /referenceLogps has other contents/);

  const reward = file('ids.cjs', 'module.exports = (samples) => samples.map(({ ids }) => ids.length);');
  const judged = grpo('changed-scorer', reward, '--reward-model', at('scorer'), '--save-every', '2');
  ok(run(judged));
  await writeScorer(at('scorer'), 2);
  resumed('changed-scorer', judged, 'checkpoint-00000004', /rewardModel has other contents/);

  resumed(
    'whole-copy',
    (cpSync(at('whole'), at('whole-copy'), { recursive: true }), dpo('whole-copy', '--beta', '0.2')),
    'checkpoint-00000009',
    /beta was not given, is 0\.2/,
  );
  // these change nothing of what is trained
  ok(run(dpo('whole-copy', '--keep', '3', '--dtype', 'F32', '--save-every', '5')));
  assert.equal(sha256('whole-copy'), sha256('whole'));
});

test('a run that was begun with a setting of an old name is refused, with the new name', () => {
  const path = join(unfinished('old-names'), 'checkpoint-00000009', 'training.json');
  const state = JSON.parse(readFileSync(path, 'utf8')) as { fingerprint: Record<string, string> };
  writeFileSync(path, JSON.stringify({ ...state, fingerprint: { ...state.fingerprint, finalShare: '0.1' } }));
  const { status, stderr } = run(dpo('old-names', '--min-lr-ratio', '0.1'));
  assert.equal(status, 1);
  assert.match(stderr, /with other data or options \(it was begun with finalShare, which is now minLrRatio; /);
});

test('two trainings in one folder: the second is refused, and the first ends undisturbed', async () => {
  const slow = file(
    'slow.mjs',
    "import { setTimeout } from 'node:timers/promises';\nexport default async (samples) => { await " +
      'setTimeout(1500); return samples.map(({ ids }) => ids.length); };',
  );
  const first = spawn(process.execPath, grpo('shared', slow), { stdio: 'ignore' });
  const ended = once(first, 'close') as Promise<[number | null]>;
  while (!existsSync(at('shared', 'metrics.jsonl'))) await new Promise((resolve) => setTimeout(resolve, 5));
  const { status, stderr } = run(grpo('shared', slow));
  assert.equal(status, 1);
  assert.equal(
    stderr,
    `alignbook: ${at('shared')} is in use: process ${first.pid} trains in it; give another output folder, or ` +
      'wait for that run\n',
  );
  assert.deepEqual(await ended, [0, null]);
  assert.equal(losses('shared').length, 6);
  assert.ok(!readdirSync(at('shared')).includes('.lock'));
});

test(
  'a reward function that fails: one line with file, step and sample, after a checkpoint from which the mended one ' +
    'goes on',
  () => {
    // Fails in the third step if a file is missing; with it, the scores are those of the function that never fails.
    const code = (fails: string) => `
    const { existsSync } = require('node:fs');
    let calls = 0; const isBroken = () => !existsSync(${JSON.stringify(at('mended'))});
    module.exports = (samples) => { calls += 1; if (calls === 3 && isBroken()) { ${fails} }
      return samples.map(({ ids }) => ids.length); };`;
    const kinds: readonly (readonly [name: string, fails: string, said: RegExp])[] = [
      [
        'throws',
        'calls -= 1; throw new Error("judge is away");',
        /the reward function failed in line 4, on sample 0, ".*": Error: judge is away/,
      ],
      ['nothing', 'return;', /reward gave undefined for 4 samples; it must give a list with one number for each/],
      [
        'exits',
        'process.exit(0);',
        /the reward function ended the process \(process\.exit\(0\)\); throw an error instead/,
      ],
    ];
    ok(
      run(
        grpo('judged', file('never-fails.cjs', 'module.exports = (samples) => samples.map(({ ids }) => ids.length);')),
      ),
    );
    for (const [name, fails, said] of kinds) {
      rmSync(at('mended'), { force: true });
      const reward = file(`${name}.cjs`, code(fails));
      const failed = run(grpo(name, reward));
      assert.equal(failed.status, 1, name);
      assert.match(failed.stderr, new RegExp(`^alignbook: ${reward}: step 3: ${said.source}\n$`));
      assert.match(
        failed.stdout,
        new RegExp(`^step 2 is saved in ${at(name)}, and the same command goes on from there$`, 'm'),
      );
      writeFileSync(at('mended'), '');
      const again = run(grpo(name, reward));
      ok(again);
      assert.match(again.stdout, /^going on after step 2 of 6$/m);
      assert.equal(sha256(name), sha256('judged'), name);
    }
  },
);

test('Ctrl-C while a reward function does not return saves the steps before', async () => {
  for (const [name, hangs] of [
    ['waits', 'return new Promise(() => {});'],
    ['loops', 'for (;;);'],
  ] as const) {
    const reward = file(
      `${name}.cjs`,
      `let calls = 0; module.exports = (samples) => { if (++calls === 3) { ${hangs} } return samples.map(({ ids ` +
        '}) => ids.length); };',
    );
    const child = spawn(process.execPath, grpo(name, reward));
    let stdout = '';
    child.stdout.on('data', (chunk) => (stdout += chunk));
    const closed = once(child, 'close') as Promise<[number | null]>;
    while (!/^step 2 /m.test(stdout)) await new Promise((resolve) => setTimeout(resolve, 5));
    await new Promise((resolve) => setTimeout(resolve, 300)); // the third step has begun
    child.kill('SIGINT');
    assert.deepEqual((await closed)[0], 130);
    assert.match(stdout, /^interrupted; step 2 is saved in/m);
    assert.ok(existsSync(at(name, 'checkpoint-00000002')));
  }
});
