import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { generate, GPT2, Tokenizer, type Generated, type GenerateOptions } from 'alignbook';

import { root } from '../scripts/paths';
import { sameLine, type Line } from './logpsLines';

const FIXTURES = join(root, 'tests', 'fixtures', 'gpt2');

function alignbook(...args: string[]) {
  return alignbookOn('', ...args);
}

/** Runs the command with `input` on its standard input. */
function alignbookOn(input: string | Uint8Array, ...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, 'lib', 'bin', 'alignbook.js'), ...args], {
    encoding: 'utf8',
    input,
  });
  return { status, stdout, stderr };
}

test('doctor tells versions and device', () => {
  const { status, stdout } = alignbook('doctor');
  assert.match(stdout, new RegExp(`^node +${process.version.replaceAll('.', '\\.')} on `, 'm'));
  assert.match(stdout, /^tensorflow +2\.21\.0, (CPU|CUDA) build$/m);
  assert.match(stdout, /^device +(CPU|GPU|CUDA build, no device)/m);
  assert.match(stdout, /^operations +(this project's own, for AVX(2|512), beside T|T)ensorFlow's/m);
  assert.match(stdout, /^arithmetic +a matrix product came out right$/m);
  assert.equal(status, /CUDA build, no device/.test(stdout) ? 1 : 0);
});

test('weights lists the tensors of a file, and of a folder', () => {
  for (const path of [FIXTURES, join(FIXTURES, 'model.safetensors')]) {
    const { status, stdout } = alignbook('weights', path);
    assert.equal(status, 0);
    assert.match(stdout, /^transformer\.wte\.weight +F32 +\[31, 15\]$/m);
    // By hand: 40 rows of embeddings, 3 blocks of 12 * 15^2 + 13 * 15, one norm.
    assert.match(stdout, /^40 tensors, 9,315 parameters$/m);
  }
});

test('a malformed file: one line that names it, exit 1', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cli-'));
  const path = join(folder, 'bad.safetensors');
  writeFileSync(path, Buffer.from([5, 0, 0, 0, 0, 0, 0, 0, 0x7b]));
  const { status, stdout, stderr } = alignbook('weights', path);
  assert.equal(status, 1);
  assert.equal(stdout, '');
  assert.equal(stderr, `alignbook: ${path}: is cut short: a header of 5 bytes in a file of 9\n`);
  rmSync(folder, { recursive: true });
});

/**
 * Float32 here, float64 in the fixture, on log-probs down to -15. Greatest difference seen: 2.5e-6. Another processor
 * sums in a different order, so four times that is allowed.
 */
const LOGP = 1e-5;

test("logps writes transformers' log-probs, from a file or the standard input, in batches of any size", () => {
  const { rows, lines } = JSON.parse(readFileSync(join(root, 'tests', 'fixtures', 'logps.json'), 'utf8')) as {
    rows: unknown[];
    lines: Line[];
  };
  // a byte order mark, an empty line, CRLF
  const text = `\ufeff${rows.map((row) => JSON.stringify(row)).join('\r\n\n')}\n`;
  const folder = mkdtempSync(join(tmpdir(), 'cli-'));
  writeFileSync(join(folder, 'rows.jsonl'), text);
  const output = join(folder, 'logps.jsonl');
  const runs = [
    alignbook(
      'logps',
      '--model',
      'tiny',
      '--data',
      join(folder, 'rows.jsonl'),
      '--batch-size',
      '2',
      '--output',
      output,
    ),
    alignbookOn(text, 'logps', '--model', 'tiny', '--data', '-'),
  ];
  for (const { status, stderr } of runs) assert.deepEqual([status, stderr], [0, '']);
  assert.equal(runs[0]!.stdout, '');
  for (const written of [readFileSync(output, 'utf8'), runs[1]!.stdout]) {
    const made = written
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Line);
    assert.equal(made.length, 5);
    made.forEach((line, n) => sameLine(line, lines[n]!, LOGP));
  }
  rmSync(folder, { recursive: true });
});

test('logps names the file and the line that is wrong, and writes nothing', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cli-'));
  const path = join(folder, 'rows.jsonl');
  writeFileSync(path, '{"prompt":"a","chosen":"b","rejected":"c"}\n{"prompt":"a","chosen":"b"}\n');
  const { status, stdout, stderr } = alignbook(
    'logps',
    '--model',
    'tiny',
    '--data',
    path,
    '--output',
    join(folder, 'out'),
  );
  assert.deepEqual([status, stdout, stderr], [1, '', `alignbook: ${path}: line 2: has no "rejected"\n`]);
  assert.deepEqual(readdirSync(folder), ['rows.jsonl']);
  rmSync(folder, { recursive: true });
});

test(
  'logps --skip-bad tells the first 20 bad rows, counts ' + 'them all, and scores the others; no row left is an error',
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'cli-'));
    const path = join(folder, 'rows.jsonl');
    const [good, bad] = ['{"prompt":"a","chosen":"b","rejected":"c"}', '{"prompt":"a","chosen":"b"}'];
    const told = (count: number, first: number) =>
      Array.from({ length: count }, (_, n) => `left out: ${path}: line ${n + first}: has no "rejected"\n`).join('');
    const logps = (...rows: string[]) => {
      writeFileSync(path, rows.join('\n'));
      const { status, stdout, stderr } = alignbook('logps', '--model', 'tiny', '--data', path, '--skip-bad');
      return { status, rows: stdout.split('\n').length - 1, stderr };
    };
    assert.deepEqual(logps(good, bad), { status: 0, rows: 1, stderr: `${told(1, 2)}1 of 2 rows left out\n` });
    assert.deepEqual(logps(good, ...Array<string>(20).fill(bad)), {
      status: 0,
      rows: 1,
      stderr: `${told(20, 2)}20 of 21 rows left out\n`,
    });
    assert.deepEqual(logps(good, ...Array<string>(25).fill(bad), good), {
      status: 0,
      rows: 2,
      stderr: `${told(20, 2)}… and 5 more\n25 of 27 rows left out\n`,
    });
    assert.deepEqual(logps(good), { status: 0, rows: 1, stderr: '' });
    const none = `alignbook: ${path}: has no row that can be kept: 21 of 21 left out\n`;
    assert.deepEqual(logps(...Array<string>(21).fill(bad)), {
      status: 1,
      rows: 0,
      stderr: `${told(20, 1)}… and 1 more\n${none}`,
    });
    rmSync(folder, { recursive: true });
  },
);

test('export makes a folder, refuses one that is there, and replaces it when forced', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cli-'));
  const out = join(folder, 'my-gpt2');
  const first = alignbook('export', '--model', 'tiny', '--out', out, '--dtype', 'BF16');
  assert.deepEqual([first.status, first.stdout], [0, `tiny is in ${out}, as BF16\n`]);
  const again = alignbook('export', '--model', 'tiny', '--out', out);
  assert.deepEqual(
    [again.status, again.stderr],
    [1, `alignbook: ${out} is not empty; give another folder, or --force to replace it\n`],
  );
  assert.match(alignbook('weights', out).stdout, /^transformer\.wte\.weight +BF16 +\[50257, 128\]$/m);
  assert.equal(alignbook('export', '--model', out, '--out', out, '--force').status, 0);
  assert.match(alignbook('weights', out).stdout, /^transformer\.wte\.weight +F32 +\[50257, 128\]$/m);
  rmSync(folder, { recursive: true });
});

test('a command that is not there, or its options: one line with where to read on, exit 2', () => {
  const wrong = [
    [],
    ['nonsense'],
    ['weights'],
    ['doctor', '--nonsense'],
    ['logps', '--model', 'tiny'],
    ['logps', '--model', 'tiny', '--data', '-', '--batch-size', '0'],
    ['export', '--model', 'tiny', '--out', '/nowhere/out', '--dtype', 'F8'],
  ];
  for (const args of wrong) {
    const { status, stderr } = alignbook(...args);
    assert.equal(status, 2, args.join(' '));
    assert.match(stderr, /^alignbook: .*[;?] [sS]ee npx alignbook( \w+)? --help\n$/);
  }
  assert.equal(alignbook('--help').status, 0);
});

test('generate continues a prompt as the library does, ends at a stop string, and draws by the seed', async () => {
  const [tokenizer, model] = await Promise.all([Tokenizer.fromPretrained('tiny'), GPT2.fromPretrained('tiny')]);
  const prompt = 'What is an antonym of';
  const made = async (options: GenerateOptions) => {
    const [{ ids }] = (await generate(model, [tokenizer.encode(prompt)], {
      eosTokenId: tokenizer.eosTokenId,
      ...options,
    })) as [Generated];
    return tokenizer.decode(ids.filter((id) => id !== tokenizer.eosTokenId));
  };
  const greedy = await made({ maxNewTokens: 12 });
  const command = (...args: string[]) =>
    alignbook('generate', '--model', 'tiny', '--prompt', prompt, '--max-new-tokens', '12', ...args);
  assert.deepEqual(command(), { status: 0, stdout: `${greedy}\n`, stderr: '' });

  const end = greedy.slice(6, 9);
  assert.equal(command('--stop', end).stdout, `${greedy.slice(0, greedy.indexOf(end))}\n`);

  const drawn = await made({ maxNewTokens: 12, temperature: 1.5, topK: 50, topP: 0.9, seed: 4 });
  assert.equal(command('--temperature', '1.5', '--top-k', '50', '--top-p', '0.9', '--seed', '4').stdout, `${drawn}\n`);
  assert.notEqual(drawn, greedy);
  model.dispose();
});

test('generate refuses what it cannot do', () => {
  assert.match(alignbook('generate', '--model', 'tiny').stderr, /generate needs --prompt; see/);
  assert.equal(alignbook('generate', '--model', 'tiny', '--prompt', 'x', '--temperature', 'hot').status, 2);
  const { status, stderr } = alignbook('generate', '--model', 'tiny', '--prompt', 'x', '--top-p', '2');
  assert.equal(status, 1);
  assert.match(stderr, /^alignbook: topP must be in \(0, 1\], got 2$/m);
});
