/** Data sets by name: their files, as Python's datasets finds them (oracles/data_sets.py), and their download. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { gzipSync } from 'node:zlib';

import { HubError, InputError, readPairs, Tokenizer } from 'alignbook';
import { dataSetFiles, parseDataSetName } from 'alignbook/dist/hub/dataSet';
import { chooseFiles, parseCard } from 'alignbook/dist/hub/dataSetFiles';
import { matchesGlob } from 'alignbook/dist/hub/glob';

import { root } from '../scripts/paths';
import { HubServer } from './hubServer';

interface Fixture {
  readonly layouts: readonly {
    readonly card: string;
    readonly files: readonly string[];
    readonly splits: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;
  }[];
}
const { layouts } = JSON.parse(readFileSync(join(root, 'tests', 'fixtures', 'data_sets.json'), 'utf8')) as Fixture;

test('the files of each split and configuration are those that datasets finds', () => {
  let compared = 0;
  for (const { card: readme, files, splits } of layouts) {
    const card = parseCard(readme);
    for (const [config, bySplit] of Object.entries(splits)) {
      for (const [split, expected] of Object.entries(bySplit)) {
        const configName = config === '' ? undefined : config;
        const chosen = chooseFiles(files, card, { configName, split });
        assert.deepEqual([...chosen.files].sort(), [...expected].sort(), `${files.join()} ${config} ${split}`);
        compared += 1;
      }
    }
  }
  assert.equal(compared, 27);
});

test('patterns: *, ?, sets and ** match as in a shell', () => {
  const yes: readonly (readonly [pattern: string, path: string])[] = [
    ['**', 'a/b/c'],
    ['a/**', 'a/b'],
    ['**/a', 'a'],
    ['**/a/**', 'x/a/y/z'],
    ['a*c?', 'abbcd'],
    ['*[-._ 0-9]b[!x]', 'a-by'],
    ['*.*', 'a.b.c'],
    ['.h*', '.hidden'],
    ['*a*b*', 'xaybz'],
    ['[a', '[a'],
  ];
  const no: readonly (readonly [pattern: string, path: string])[] = [
    ['*', 'a/b'],
    ['**/a', 'ba'],
    ['a/**', 'b/a'],
    ['a/**', 'a'],
    ['a?', 'a'],
    ['[!a]b', 'ab'],
    ['*', '.hidden'],
    ['**', '.h/a'],
    ['**/a', 'x/.h/a'],
    ['a*b', 'abc'],
  ];
  for (const [pattern, path] of yes) assert.ok(matchesGlob(path, pattern), `${pattern} ${path}`);
  for (const [pattern, path] of no) assert.ok(!matchesGlob(path, pattern), `${pattern} ${path}`);
  // a regular expression would need years
  assert.ok(!matchesGlob('a'.repeat(3000), `${'*a'.repeat(200)}b`));
  assert.ok(!matchesGlob('a/'.repeat(1000), `${'**/a/'.repeat(100)}b`));
});

test('the default configuration and split, a folder, a file, and what there is not', () => {
  const [several, english, only] = layouts.slice(-3).map(({ card, files }) => [files, parseCard(card)] as const);
  assert.deepEqual(chooseFiles(...several!, {}).files, ['data/train-00000-of-00001.parquet']);
  assert.deepEqual(chooseFiles(...several!, { configName: 'several' }).split, 'fit', 'the only split');
  assert.equal(chooseFiles(...english!, {}).configName, 'de', 'it says default: true');
  assert.equal(chooseFiles(...only!, {}).configName, 'only');
  assert.deepEqual(chooseFiles(...several!, { path: 'small' }).files, ['small/a.jsonl', 'small/b.jsonl']);
  assert.deepEqual(chooseFiles(...several!, { path: 'part2/a.jsonl' }).files, ['part2/a.jsonl']);
  const refused = (wanted: object, message: RegExp) =>
    assert.throws(() => chooseFiles(...several!, wanted), { name: InputError.name, message });
  refused(
    { split: 'tets' },
    /^it has no split "tets" in the configuration "default"; .* #: train, test; did you mean test\?$/,
  );
  refused({ configName: 'smal' }, /no configuration "smal"; configName is one of default, small, several; .* small\?$/);
  refused({ path: 'part3' }, /no file or folder "part3"; it has data\/test-0/);
  assert.throws(
    () => chooseFiles(['a.arrow', 'b.arrow'], parseCard(''), {}),
    /of a kind that is not read here \(a\.arrow, b\.arrow\); .* @refs\/convert\/parquet/,
  );
  assert.throws(() => chooseFiles(['a.jsonl'], parseCard(''), { configName: 'en' }), /no configurations/);
  const undecided = parseCard('---\nconfigs:\n- config_name: a\n- config_name: b\n---\n');
  assert.throws(
    () => chooseFiles(['a.jsonl'], undecided, {}),
    /several configurations and no default; .* one of a, b$/,
  );
});

test('a file is read once, and one whose name has the words of two splits is in neither', () => {
  // Python reads the first twice, and trains on the validation rows of the second: findings/datasets-file-read-twice.sh
  const card = parseCard('');
  assert.deepEqual(chooseFiles(['train.jsonl', 'eval-test.jsonl'], card, { split: 'test' }).files, ['eval-test.jsonl']);
  const files = ['train.jsonl', 'train-dev.jsonl'];
  const message =
    /^its file train-dev\.jsonl is in the splits train and validation by its name, .* \/train-dev\.jsonl$/;
  assert.throws(() => chooseFiles(files, card, {}), { name: InputError.name, message });
  assert.deepEqual(chooseFiles(files, card, { path: 'train.jsonl' }).files, ['train.jsonl']);
});

test('a card: license, rows by configuration and split, and YAML that is wrong', () => {
  const splits = '  splits:\n  - name: train\n    num_examples: 12\n';
  assert.equal(parseCard(`---\nlicense: [mit, cc-by-4.0]\n---\n`).license, 'mit, cc-by-4.0');
  assert.equal(parseCard(`---\ndataset_info:\n${splits}---\n`).rows.get('default')?.get('train'), 12);
  const listed = `---\ndataset_info:\n- config_name: en\n${splits}---\n`;
  assert.equal(parseCard(listed).rows.get('en')?.get('train'), 12);
  assert.deepEqual(parseCard('# no YAML\n---\n').configurations, []);
  assert.throws(() => parseCard('---\na: [\n---\n'), /README\.md begins with YAML that cannot be read \(/);
  assert.throws(() => parseCard('---\nconfigs:\n- data_files: x\n---\n'), /without a "config_name"/);
  assert.throws(
    () => parseCard('---\nconfigs:\n- config_name: a\n  data_files: 7\n---\n'),
    /"data_files" of the configuration "a" in another form/,
  );
});

test('names', () => {
  const parts = (name: string) => Object.values(parseDataSetName(name));
  assert.deepEqual(parts('hf:Anthropic/hh-rlhf'), ['Anthropic/hh-rlhf', 'main', undefined, undefined]);
  assert.deepEqual(parts('hf:a/b@v1.0/c/d.jsonl#test'), ['a/b', 'v1.0', 'c/d.jsonl', 'test']);
  assert.deepEqual(parts('hf:a/b@refs/convert/parquet/en'), ['a/b', 'refs/convert/parquet', 'en', undefined]);
  assert.deepEqual(parts('hf://datasets/a/b@main/c'), ['a/b', 'main', 'c', undefined]);
  assert.deepEqual(parts('hf:squad#train'), ['squad', 'main', undefined, 'train']);
  for (const name of ['hf:', 'hf:a/b#', 'hf:a/b#x#y', 'hf:../b', 'hf:a/b@', 'hf:a/b/../c', 'hf:a/b//c', 'hf:a b/c'])
    assert.throws(() => parseDataSetName(name), /is not a data set's name: write hf:ORGANIZATION\/NAME/, name);
  assert.throws(() => parseDataSetName('hf:a/b#train[:10%]'), /; a part of a split is taken by limit and shuffleSeed$/);
});

const COMMIT = '607a30d783dfa663caf39e06633721c8d4cfcd7e';
const NAME = 'test/pairs';
const rows = (count: number, word: string): Buffer =>
  Buffer.from(
    Array.from({ length: count }, (_, n) =>
      JSON.stringify({ prompt: `${word} ${n}:`, chosen: ' a', rejected: ' b' }),
    ).join('\n'),
  );
const FILES = {
  'README.md': Buffer.from(
    '---\nlicense: cc0-1.0\ndataset_info:\n  splits:\n  - name: train\n    num_examples: 5\n---\n',
  ),
  'first/train.jsonl.gz': gzipSync(rows(3, 'one')),
  'second/train.jsonl.gz': gzipSync(rows(2, 'two')),
  'first/test.jsonl.gz': gzipSync(rows(4, 'three')),
};
/** Retries at once, without a message. */
const quick = { retryDelay: 1, onProgress: () => {} };
const tokenizer = Tokenizer.fromPretrained('tiny');
const options = { maxLength: 256 };

let server: HubServer;
let home = '';
beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'datasets-'));
  const repository = { commit: COMMIT, revisions: ['main', 'v1'], files: FILES };
  server = await HubServer.start({ [`datasets/${NAME}`]: repository });
  for (const name of Object.keys(process.env))
    if (/^(HF_|HUGGING|TRANSFORMERS_|XDG_CACHE)|_PROXY$/i.test(name)) delete process.env[name];
  process.env['HF_HOME'] = home;
  process.env['HF_ENDPOINT'] = server.endpoint;
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(home, { recursive: true });
});
const folder = () => join(home, 'hub', 'datasets--test--pairs');

/** Requests for files of rows, which a storage host serves. */
const fetched = () => server.taken().filter((request) => request.startsWith('GET storage')).length;

test('the rows of all files of a split, with the line for people; then without a request, and offline', async () => {
  const told: string[] = [];
  const read = async (name: string) =>
    (await readPairs(name, await tokenizer, { ...options, onDataSet: (text) => told.push(text) })).length;
  assert.equal(await read(`hf:${NAME}`), 5);
  assert.deepEqual(told, [`${NAME}: split train, 2 files, 5 rows by its card, license cc0-1.0, commit 607a30d`]);
  assert.deepEqual(
    server.taken().filter((request) => !request.startsWith('HEAD')),
    [
      `GET /api/datasets/${NAME}/revision/main`,
      `GET /datasets/${NAME}/resolve/${COMMIT}/README.md`,
      `GET /api/resolve-cache/${readdirSync(join(folder(), 'blobs')).find((etag) => etag.length === 40)!}`,
      `GET /datasets/${NAME}/resolve/${COMMIT}/first/train.jsonl.gz`,
      'GET storage',
      `GET /datasets/${NAME}/resolve/${COMMIT}/second/train.jsonl.gz`,
      'GET storage',
    ],
  );
  assert.equal(await read(`hf:${NAME}`), 5);
  assert.equal(await read(`hf:${NAME}/second`), 2);
  assert.deepEqual(server.taken(), [], 'the list of files, the card and the rows are in the cache');
  assert.equal(await read(`hf:${NAME}#test`), 4);
  assert.equal(fetched(), 1);
  process.env['HF_HUB_OFFLINE'] = '1';
  assert.equal(await read(`hf:${NAME}#test`), 4);
  assert.equal(await read(`hf:${NAME}@${COMMIT}/first/test.jsonl.gz`), 4);
  await assert.rejects(read(`hf:${NAME}@v1`), {
    name: HubError.name,
    message: /not complete in the .* cache .* HF_HUB_OFFLINE/,
  });
  assert.deepEqual(server.taken(), []);
});

test('the cache has the layout of huggingface_hub', async () => {
  const { files } = await dataSetFiles(`hf:${NAME}`, quick);
  const snapshot = join(folder(), 'snapshots', COMMIT);
  assert.deepEqual(
    files.map(({ path }) => path),
    ['first', 'second'].map((part) => join(snapshot, part, 'train.jsonl.gz')),
  );
  assert.match(readlinkSync(files[0]!.path), /^\.\.\/\.\.\/\.\.\/blobs\/[0-9a-f]{64}$/);
  assert.equal(readFileSync(join(folder(), 'refs', 'main'), 'utf8'), COMMIT);
  const list = JSON.parse(readFileSync(join(folder(), 'trees', `${COMMIT}.json`), 'utf8')) as { files: object };
  assert.deepEqual(Object.keys(list.files).sort(), Object.keys(FILES).sort());
});

test('offline, files that Python downloaded without a list are taken, but not if a shard is missing', async () => {
  const shards = ['data/train-00000-of-00002.jsonl', 'data/train-00001-of-00002.jsonl'];
  server.repositories.set(`datasets/${NAME}`, {
    commit: COMMIT,
    files: Object.fromEntries(shards.map((name) => [name, rows(2, name)])),
  });
  await dataSetFiles(`hf:${NAME}`, quick);
  rmSync(join(folder(), 'trees'), { recursive: true });
  process.env['HF_HUB_OFFLINE'] = '1';
  assert.equal((await dataSetFiles(`hf:${NAME}`)).files.length, 2);
  rmSync(join(folder(), 'snapshots', COMMIT, shards[1]!));
  await assert.rejects(dataSetFiles(`hf:${NAME}`), /is not complete in the Hugging Face cache/);
});

test('a download that breaks off goes on; one that is too large, or is refused, is not kept', async () => {
  const [name, bytes] = ['first/test.jsonl.gz', FILES['first/test.jsonl.gz']];
  let broken = 0;
  server.intercept = ({ host }, response) => {
    if (host !== 'storage' || broken > 0) return false;
    broken += 1;
    response.writeHead(200, { 'content-length': bytes.length });
    response.write(bytes.subarray(0, 50), () => response.destroy());
    return true;
  };
  await dataSetFiles(`hf:${NAME}#test`, quick);
  assert.ok(server.taken().includes('GET storage bytes=50-'));
  assert.deepEqual(readFileSync(join(folder(), 'snapshots', COMMIT, name)), bytes);

  const small = { ...quick, bounds: { data: 10 } };
  await assert.rejects(
    dataSetFiles(`hf:${NAME}`, small),
    /first\/train.* has \d+ bytes .* at most 10 bytes of one file/,
  );
  await assert.rejects(dataSetFiles('hf:test/none', quick), /"test\/none" does not exist, .*\/datasets\/test\/none$/);
  assert.equal(existsSync(join(home, 'hub', 'datasets--test--none')), false);
  assert.equal(statSync(join(folder(), 'snapshots', COMMIT, name)).size, bytes.length);
});

test('download asks for a newer commit, and repairs what was cut or changed', async () => {
  const { files } = await dataSetFiles(`hf:${NAME}`, quick);
  writeFileSync(files[0]!.path, 'changed');
  assert.equal((await dataSetFiles(`hf:${NAME}`, quick)).files.length, 2, 'not looked into');
  server.taken();
  await dataSetFiles(`hf:${NAME}`, { ...quick, check: true });
  assert.equal(fetched(), 1);
  assert.deepEqual(readFileSync(files[0]!.path), FILES['first/train.jsonl.gz']);
  const commit = '0'.repeat(40);
  server.repositories.set(`datasets/${NAME}`, { commit, files: FILES });
  assert.equal((await dataSetFiles(`hf:${NAME}`, quick)).files[0]!.path, files[0]!.path);
  const { description } = await dataSetFiles(`hf:${NAME}`, { ...quick, check: true });
  assert.match(description, /commit 0000000$/);
  assert.equal(readFileSync(join(folder(), 'refs', 'main'), 'utf8'), commit);
});

test("a path in the hub's list that leads out of the cache is refused, and nothing is written there", async () => {
  const card = '---\nconfigs:\n- config_name: a\n  data_files: "../../*.jsonl"\n---\n';
  server.repositories.set(`datasets/${NAME}`, {
    commit: COMMIT,
    files: { 'README.md': Buffer.from(card), '../../rows.jsonl': rows(1, 'a') },
  });
  const message = /lists the file "\.\.\/\.\.\/rows\.jsonl" of "test\/pairs", a path that leads out of the cache/;
  await assert.rejects(dataSetFiles(`hf:${NAME}`, quick), { name: HubError.name, message });
  assert.deepEqual(readdirSync(folder()).sort(), ['blobs', 'snapshots']);
});

test('a row that is wrong is named with its file', async () => {
  server.repositories.set(`datasets/${NAME}`, {
    commit: COMMIT,
    files: { 'a/train.jsonl': rows(1, 'a'), 'b/train.jsonl': Buffer.from('{"prompt": "x"}') },
  });
  await assert.rejects(
    readPairs(`hf:${NAME}`, await tokenizer, options),
    /^FileError: hf:test\/pairs: b\/train\.jsonl, line 1: has no "chosen"/,
  );
});
