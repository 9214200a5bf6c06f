/** Data files, reward functions, numbers and names that a caller gives. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import {
  encodePair,
  GPT2,
  Random,
  readPairs,
  Tokenizer,
  trainDpo,
  trainReward,
  trainSft,
  type PairIds,
} from 'alignbook';
import { catalog } from 'alignbook/dist/commands/catalog';
import { valuesOf } from 'alignbook/dist/commands/command';
import { loadRewardFunction } from 'alignbook/dist/commands/rewardFunction';
import { parseDataSetName } from 'alignbook/dist/hub/dataSet';
import { chooseFiles, parseCard } from 'alignbook/dist/hub/dataSetFiles';
import { lora } from 'alignbook/dist/model/lora';
import { plainFigure } from 'alignbook/dist/notebook/plainFigure';
import { ChatTemplate } from 'alignbook/dist/text/chatTemplate';
import { trainSettings } from 'alignbook/dist/training/options';

import { runTries } from './tries';

const folder = mkdtempSync(join(tmpdir(), 'bounds-'));
after(() => rmSync(folder, { recursive: true, force: true }));

let tokenizer: Tokenizer;
let model: GPT2;
let pairs: PairIds[];
before(async () => {
  tokenizer = await Tokenizer.fromPretrained('tiny');
  model = await GPT2.fromPretrained('tiny');
  pairs = [encodePair(tokenizer, { prompt: 'Say hello.', chosen: ' Hello.', rejected: ' No.' })];
});
after(() => model.dispose());

let files = 0;
function written(name: string, content: string | Buffer): string {
  const path = join(folder, `${(files += 1)}-${name}`);
  writeFileSync(path, content);
  return path;
}

test('data', async () => {
  const good = { prompt: 'Say hello.', chosen: 'Hello.', rejected: 'No.' };
  const read = (content: string | Buffer) => () =>
    readPairs(written('rows.jsonl', content), tokenizer, { maxLength: 128 });
  await read(JSON.stringify(good))();
  const values: readonly (readonly [string, unknown])[] = [
    ['null', null],
    ['true', true],
    ['5', 5],
    ['an empty text', ''],
    ['white space', ' \n'],
    ['a list', []],
    ['a list of texts', ['a', 'b']],
    ['a list of null', [null]],
    ['an object', {}],
    ['a message without a role', [{ content: 'x' }]],
    ['a message without content', [{ role: 'user' }]],
    ['an unknown role', [{ role: 'constructor', content: 'x' }]],
    ['half of a surrogate pair', '\ud83d'],
    ['a NUL', 'a\0b'],
    ['1,000,001 letters', 'x'.repeat(1_000_001)],
    ['parts of another kind', [{ role: 'user', content: [{ type: 'image' }] }]],
  ];
  const lines: Readonly<Record<string, string | Buffer>> = {
    nothing: '',
    'white space': ' \n\n ',
    null: 'null',
    'a number': '5',
    'a text': '"x"',
    'a list': '[1, 2]',
    'an empty object': '{}',
    'no JSON': 'prompt chosen rejected',
    'cut JSON': '{"prompt": "x"',
    'two objects in a line': `${JSON.stringify(good)} ${JSON.stringify(good)}`,
    'a Python dictionary': "{'prompt': 'x'}",
    NaN: '{"prompt": NaN}',
    'a comma at the end': '{"prompt": "x",}',
    'a comment': '// rows\n',
    'CSV without rows': 'prompt,chosen,rejected\n',
    'CSV with an open quote': 'prompt,chosen,rejected\na,"b,c\n',
    'CSV with a cell of 33 MB': `prompt,chosen,rejected\na,"${'x'.repeat(33 * 2 ** 20)}",c\n`,
    'CSV with an open quote and 70 MB': `prompt,chosen,rejected\na,"${'x\n'.repeat(35 * 2 ** 20)}`,
    'CSV with names of an object': 'constructor,__proto__,toString\na,b,c\n',
    'CSV with a column twice': 'prompt,prompt,chosen\na,b,c\n',
    'CSV with a row that is too long': 'prompt,chosen,rejected\na,b,c,d\n',
    'CSV with 100,000 columns': `${Array.from({ length: 100_000 }, (_, n) => `c${n}`).join(',')}\n1\n`,
    'a byte that is no UTF-8': Buffer.from([0x7b, 0xff, 0x7d]),
    'UTF-16': Buffer.from('\ufeff{"prompt": "x"}', 'utf16le'),
    'nested 5,000 deep': `{"prompt": ${'['.repeat(5000)}${']'.repeat(5000)}}`,
    'a line of 33 MB': `{"prompt": "${'x'.repeat(33 * 2 ** 20)}"}`,
    "names of an object's own": '{"constructor": "a", "toString": "b"}',
    __proto__: '{"__proto__": {"prompt": "a", "chosen": "b", "rejected": "c"}}',
    'columns in capitals': '{"PROMPT": "a", "CHOSEN": "b", "REJECTED": "c"}',
    'a second row that is wrong': `${JSON.stringify(good)}\n{}`,
    gzip: Buffer.from([0x1f, 0x8b, 8, 0]),
    'Parquet that is cut': 'PAR1xxxx',
    "Parquet's signs alone": 'PAR1PAR1',
    'a zip': 'PK\x03\x04xx',
    'a pickle': Buffer.from([0x80, 4, 0x95]),
  };
  const places: Readonly<Record<string, string>> = {
    'no such file': join(folder, 'none'),
    'a folder': folder,
    'an empty name': '',
    'a name with a NUL': 'a\0b',
    'a folder in a file': join(written('file', 'x'), 'x'),
    'a name of 5,000 letters': 'x'.repeat(5000),
    'a device without an end': '/dev/zero',
    'an empty device': '/dev/null',
  };
  await runTries(
    'data',
    [
      ...['prompt', 'chosen', 'rejected'].flatMap((field) =>
        values.map(([name, value]) => ({
          name: `${field}: ${name}`,
          run: read(JSON.stringify({ ...good, [field]: value })),
          mayPass: true,
        })),
      ),
      ...['prompt', 'chosen', 'rejected'].map((field) => ({
        name: `without ${field}`,
        run: read(JSON.stringify({ ...good, [field]: undefined })),
        mayPass: field === 'prompt',
      })),
      ...Object.entries(lines).map(([name, content]) => ({ name, run: read(content) })),
      ...Object.entries(places).map(([name, path]) => ({
        name,
        run: () => readPairs(path, tokenizer, { maxLength: 128 }),
      })),
      ...[0, -1, 1.5, NaN, Infinity, 1e9].map((maxLength) => ({
        name: `maxLength ${maxLength}`,
        run: () => readPairs(written('one.jsonl', JSON.stringify(good)), tokenizer, { maxLength }),
        mayPass: maxLength > 100,
      })),
      ...['constructor', '', 'KEEP'].map((truncation) => ({
        name: `truncation ${truncation}`,
        run: () =>
          readPairs(written('one.jsonl', JSON.stringify(good)), tokenizer, {
            maxLength: 128,
            truncation: truncation as 'refuse',
          }),
      })),
    ],
    95,
  );
});

test('data sets', () => {
  const files = ['train.jsonl', 'test.jsonl', 'data/a.csv'];
  const cards: Readonly<Record<string, string>> = {
    'cut YAML': 'configs: [',
    'nested 20,000 deep': `${'['.repeat(20_000)}${']'.repeat(20_000)}`,
    'aliases of aliases': `a: &a [x, x, x, x, x, x, x, x, x]\n${Array.from({ length: 20 }, (_, n) => {
      const before = n === 0 ? 'a' : `a${n - 1}`;
      return `a${n}: &a${n} [${Array.from({ length: 9 }, () => `*${before}`).join(', ')}]`;
    }).join('\n')}`,
    'configurations that are numbers': 'configs: [1, 2]',
    'a configuration without a name': 'configs:\n- data_files: train.jsonl',
    'files that are numbers': 'configs:\n- config_name: a\n  data_files: [1]',
    'a path that is an object': 'configs:\n- config_name: a\n  data_files:\n  - split: x\n    path: {}',
    'a pattern that matches nothing': 'configs:\n- config_name: a\n  data_files: "../*"',
    'a pattern of 10,000 stars': `configs:\n- config_name: a\n  data_files: "${'*a'.repeat(10_000)}"`,
    'a folder that is not there': 'configs:\n- config_name: a\n  data_dir: ../..',
    '1,000 configurations': `configs:${Array.from({ length: 1000 }, (_, n) => `\n- config_name: c${n}`).join('')}`,
    'a tag': 'configs: !!js/function "x"',
    'a license that is an object': 'license: {a: 1}',
    'no rows': 'dataset_info: {splits: [{name: train, num_examples: -1}, 7, null]}',
  };
  const wanted: readonly object[] = ['split', 'configName', 'path'].flatMap((key) =>
    ['', 'constructor', '__proto__', '../..', '*', 'x'.repeat(10_000)].map((value) => ({ [key]: value })),
  );
  const names = ['hf:', 'hf:..', 'hf:a/b/../../c', 'hf:a/b#../x', 'hf:a/b@../x', `hf:${'a/'.repeat(5000)}`, 'hf:a/b\0'];
  return runTries(
    'data sets',
    [
      ...Object.entries(cards).map(([name, yaml]) => ({
        name,
        run: () => chooseFiles(files, parseCard(`---\n${yaml}\n---\n`), {}),
        mayPass: /license|no rows|tag|aliases|deep/.test(name),
      })),
      ...wanted.map((each) => ({
        name: JSON.stringify(each).slice(0, 60),
        run: () => chooseFiles(files, parseCard(''), each),
      })),
      ...names.map((name) => ({ name: name.slice(0, 60), run: () => parseDataSetName(name) })),
    ],
    35,
  );
});

test('reward functions', async () => {
  const sample = { text: 'Hello.', prompt: 0, ids: [1], promptText: 'x', ended: true };
  const run =
    (content: string, name = 'reward.cjs') =>
    async () => {
      using loaded = await loadRewardFunction(written(name, content), {
        tell: () => undefined,
        signal: AbortSignal.timeout(5000),
      });
      await loaded.reward([sample, { ...sample, prompt: 1 }] as never);
    };
  await run('module.exports = (samples) => samples.map(() => 1);')();
  const results = [
    'undefined',
    'null',
    '5',
    '"x"',
    '{}',
    '[]',
    '[1]',
    '[1, 2, 3]',
    '[1, null]',
    '[1, undefined]',
    '[1, NaN]',
    '[1, Infinity]',
    '[1, "2"]',
    '[1, 1n]',
    '[1, {}]',
    '[1, []]',
    '[1, true]',
    '[1, 1e300]',
    '[1, Symbol()]',
    '[1, () => 1]',
    'new Float32Array(1)',
    'new Float32Array([1, NaN])',
    'new Set([1, 2])',
    '({ length: 2 })',
    'new Promise(() => { throw 1; })',
    'Promise.reject(new Error("no"))',
    'Promise.reject()',
    'Promise.resolve(null)',
    'samples',
    'globalThis',
    '(function* () { yield 1; })()',
    'new Proxy([], { get() { throw new Error("trap"); } })',
  ];
  const bodies = [
    '',
    'throw new Error("at once")',
    'throw undefined',
    'throw "a text"',
    'process.exit(3)',
    'null.x',
    'samples[5].text',
    'JSON.parse("{")',
    'setImmediate(() => { throw new Error("late"); }); return new Promise(() => {})',
    'Promise.reject(new Error("alone")); return new Promise(() => {})',
    'throw Object.create(null)',
    'throw new Error("two\\nlines")',
    'throw new Error("x".repeat(10000))',
  ];
  const modules: Readonly<Record<string, string>> = {
    'an empty module': '',
    'no function': 'module.exports = 5;',
    null: 'module.exports = null;',
    'an object': 'module.exports = {};',
    'a class': 'module.exports = class {};',
    'a syntax error': 'module.exports = (;',
    'an error as it loads': 'throw new Error("loading");',
    'an end as it loads': 'process.exit(0);',
    'a package that is not there': 'require("no-such-package");',
    'an export that is no default': 'export const reward = 1;',
    TypeScript: 'module.exports = (samples: any[]) => samples;',
    JSON: '{"a": 1}',
  };
  await runTries(
    'rewards',
    [
      ...results.map((value) => ({ name: `gives ${value}`, run: run(`module.exports = (samples) => (${value});`) })),
      ...bodies.map((body) => ({
        name: `does ${body || 'nothing'}`,
        run: run(`module.exports = (samples) => { ${body} };`),
      })),
      ...Object.entries(modules).map(([name, content]) => ({
        name,
        run: run(content, name === 'JSON' ? 'reward.json' : 'reward.cjs'),
      })),
      ...[join(folder, 'none.js'), folder, '', '/dev/null'].map((path) => ({
        name: `the file ${JSON.stringify(path.replace(folder, 'FOLDER'))}`,
        run: async () => {
          using loaded = await loadRewardFunction(path, { tell: () => undefined, signal: AbortSignal.timeout(5000) });
          await loaded.reward([sample] as never);
        },
      })),
    ],
    54,
  );
});

test('values', async () => {
  const take = async (steps: AsyncIterable<unknown>): Promise<void> => {
    for await (const _ of steps) return; // one step is enough
  };
  const usual = { steps: 1, batchSize: 1, lr: 1e-9 };
  const dpo = (more: object) => () => take(trainDpo(model, pairs, { ...usual, ...more }));
  await dpo({})();
  const numbers = [
    'steps',
    'batchSize',
    'lr',
    'beta',
    'labelSmoothing',
    'warmupSteps',
    'weightDecay',
    'accumulation',
    'maxGradNorm',
    'seed',
  ];
  const wrong = [-1, 1.5, NaN, Infinity, 1e300, '1', null, true, []];
  const names = ['constructor', '__proto__', 'toString', '', 'SIGMOID'];
  await runTries(
    'values',
    [
      ...numbers.flatMap((name) =>
        wrong.map((value) => ({
          name: `${name}: ${JSON.stringify(value) ?? String(value)} ${String(value)}`,
          run: dpo({ [name]: value }),
          mayPass: true,
        })),
      ),
      ...names.flatMap((name) => [
        { name: `loss ${name}`, run: dpo({ loss: name }) },
        { name: `schedule ${name}`, run: dpo({ schedule: name }) },
      ]),
      ...[1e5, 1e6].map((batchSize) => ({
        name: `batchSize ${batchSize}`,
        run: dpo({ batchSize }),
        says: /^batchSize/,
      })),
      { name: 'no pairs', run: () => take(trainDpo(model, [], usual)) },
      {
        name: 'pairs of another kind',
        run: () =>
          take(trainReward(model as never, [{ promptIds: [], chosenIds: [], rejectedIds: [] }] as never, usual)),
      },
      {
        name: 'an id beyond the vocabulary',
        run: () => take(trainSft(model, [{ promptIds: [1], responses: [[1e9]] }], usual)),
      },
      ...[
        { rank: 0 },
        { rank: 1e9 },
        { rank: NaN },
        { rank: 4, targets: ['constructor'] },
        { rank: 4, targets: [] },
        { rank: 4, alpha: -1 },
      ].map((options) => ({
        name: `lora ${JSON.stringify(options)}`,
        run: () => lora(model, options as never, new Random(1)),
      })),
      ...names.map((type) => ({
        name: `a trace of type ${type}`,
        run: () => plainFigure({ data: [{ type, y: [1] }] } as never),
      })),
      ...['constructor', 'toString', '__proto__'].map((name) => ({
        name: `a field ${name} of a config file`,
        run: () =>
          valuesOf(
            { ...catalog.find(({ config }) => config)!, settings: { steps: trainSettings.steps }, oneOf: [] },
            { config: written('run.json', `{"${name}": 1}`) },
          ),
      })),
    ],
    60,
  );
});

test('names in templates', async () => {
  const render = (template: string) => async () => {
    const path = join(folder, `template-${(files += 1)}`);
    mkdirSync(path);
    const made = await ChatTemplate.read(path, { chat_template: template }, { eos_token: '<|endoftext|>' });
    made!.render([{ role: 'user', content: 'x' }]);
  };
  const wrong = [
    '{{ messages.constructor.constructor("return 1")() }}',
    '{{ messages | constructor }}',
    '{{ constructor() }}',
    '{{ messages.__proto__.x() }}',
    '{{ messages[0]',
    '{% if %}',
    '{% endfor %}',
    '{{ 1 / 0 }}',
    '{{ undefined.x }}',
    '{{ messages | tojson | nofilter }}',
    '{% include "x" %}',
  ];
  await runTries(
    'templates',
    wrong.map((template) => ({ name: template, run: render(template), mayPass: true })),
    10,
  );
});
