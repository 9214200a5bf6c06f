/** Each refused construct is shown to fail in tslab's own compiler, and its remedy to work there. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { importedNames, lintCell } from '../scripts/notebooks/lint';
import { plainTslab } from './plainTslab';

const earlier = `
import { basename } from 'node:path';
const config = { lr: 3, adam: { beta: 0.9 } };
const configs = [config];
let total = 0;
const one = async () => 1;
async function* ones() { yield 1; }
`;

const refused: { name: string; bad: string; good: string; prints: string }[] = [
  {
    name: 'shorthand',
    bad: 'console.log(JSON.stringify({ total }));',
    good: 'console.log(JSON.stringify({ total: total }));',
    prints: '{"total":0}',
  },
  {
    name: 'shorthand in a function',
    bad: 'const f = () => ({ total });\nconsole.log(f().total);',
    good: 'const f = () => ({ total: total });\nconsole.log(f().total);',
    prints: '0',
  },
  {
    name: 'shorthand of an import',
    bad: 'console.log({ basename }.basename("/a/b"));',
    good: 'console.log({ basename: basename }.basename("/a/b"));',
    prints: 'b',
  },
  {
    name: 'assignment by a pattern',
    bad: '({ total } = { total: 5 });\nconsole.log(total === 5);',
    good: 'total = 5;\nconsole.log(total === 5);',
    prints: 'true',
  },
  {
    name: 'renaming pattern',
    bad: 'const { lr: rate } = config;\nconsole.log(rate === 3);',
    good: 'const rate = config.lr;\nconsole.log(rate === 3);',
    prints: 'true',
  },
  {
    name: 'nested pattern',
    bad: 'const { adam: { beta } } = config;\nconsole.log(beta > 0);',
    good: 'const beta = config.adam.beta;\nconsole.log(beta > 0);',
    prints: 'true',
  },
  {
    name: 'renaming in a loop',
    bad: 'for (const { lr: rate } of configs) console.log(rate === 3);',
    good: 'for (const { lr } of configs) console.log(lr === 3);',
    prints: 'true',
  },
  {
    name: 'await of parentheses',
    bad: 'await (one());\nconsole.log("done");',
    good: 'await one();\nconsole.log("done");',
    prints: 'done',
  },
  {
    name: 'await of a function in place',
    bad: 'await (async () => console.log("done"))();',
    good: 'await null;\nawait (async () => console.log("done"))();',
    prints: 'done',
  },
  {
    name: 'for await',
    bad: 'for await (const x of ones()) console.log(x + 1);',
    good: 'await null;\nfor await (const x of ones()) console.log(x + 1);',
    prints: '2',
  },
  {
    name: 'export of a constant',
    bad: 'export const six = 6;',
    good: 'const six = 6;\nconsole.log(six);',
    prints: '6',
  },
  {
    name: 'export of a type',
    bad: 'export interface Six { six: 6 }',
    good: 'interface Six { six: 6 }\nconsole.log(6);',
    prints: '6',
  },
  {
    name: 'export list',
    bad: 'const six = 6;\nexport { six };',
    good: 'const six = 6;\nconsole.log(six);',
    prints: '6',
  },
];

for (const { name, bad, good, prints } of refused) {
  test(`refused: ${name}`, async () => {
    assert.equal(lintCell(bad).length, 1);
    assert.notEqual(await plainTslab(earlier, bad), prints);
    assert.deepEqual(lintCell(good), []);
    assert.equal(await plainTslab(earlier, good), prints);
  });
}

const allowed = [
  'const six = 6;\nconsole.log(JSON.stringify({ six }));',
  'import { join } from "node:path";\nconsole.log(typeof { join }.join);',
  'const pair = (a: number, b: number) => ({ a, b });\nconsole.log(pair(1, 2).b);',
  'let a = 1;\n({ a } = { a: 2 });\nconsole.log(a);',
  'const { lr } = config;\nconsole.log(lr);',
  'let p = 1, q = 2;\n[p, q] = [q, p];\nconsole.log(p);',
  'console.log(await one());',
  'await null;\nawait (one());\nconsole.log(1);',
  'const f = async () => { for await (const x of ones()) console.log(x); };\nawait f();',
  'total += 1;\nconsole.log(total);',
];
for (const source of allowed) {
  test(`allowed: ${source.replace(/\n/g, ' ')}`, async () => {
    assert.deepEqual(lintCell(source), []);
    assert.ok(await plainTslab(earlier, source));
  });
}

test('a finding names its line', () => {
  assert.deepEqual(
    lintCell('const a = 1;\n\nconsole.log({ total });').map(({ line }) => line),
    [3],
  );
});

test('importedNames counts each name of one package', () => {
  const source =
    'import { a, b as c, type D } from "alignbook";\nimport * as all from "alignbook";\nimport { x } from "other";';
  assert.deepEqual(importedNames(source, 'alignbook'), ['a', 'b', 'D', 'all']);
});
