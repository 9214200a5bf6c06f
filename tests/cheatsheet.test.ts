/** docs/cheatsheet.md against the library: losses, their formulas and defaults, the metrics of real runs, the rules. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import * as library from 'alignbook';
import { catalog } from 'alignbook/dist/commands/catalog';
import { diagnosisRules } from 'alignbook/dist/training/diagnosis';

import { root } from '../scripts/paths';

const page = readFileSync(join(root, 'docs', 'cheatsheet.md'), 'utf8');

/** The rows of the tables under a heading, up to the next one of its level or above. */
function rowsUnder(heading: string): string[][] {
  const level = /^#+/.exec(heading)![0].length;
  const [, below] = page.split(`\n${heading}\n`);
  assert.ok(below !== undefined, `no heading "${heading}"`);
  const [section] = below.split(new RegExp(`^#{1,${level}} `, 'm'));
  return [...section!.matchAll(/^\| (.*) \|$/gm)]
    .map(([, row]) => row!.split(' | '))
    .filter(([first]) => first!.startsWith('`'));
}

const codes = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, text]) => text!);
/** "`beta` 0.1, `gamma` 1" as pairs. */
const valuesIn = (cell: string): Record<string, string> =>
  Object.fromEntries(cell.split(/, (?=`)/).map((one) => /^`(\w+)` (.+)$/.exec(one)!.slice(1) as [string, string]));

test('each loss on pairs is there, with its formula, its needs and its defaults', () => {
  const rows = rowsUnder('## Losses on pairs').map(([name, formula, needs, defaults]) => [
    ...codes(`${name} ${formula}`),
    needs,
    defaults,
  ]);
  const { preferenceLosses } = library;
  const wanted = Object.entries(preferenceLosses).map(([name, loss]) => {
    const inputs = [
      loss.needs.includes('refChosenLogps') && 'reference',
      loss.needs.includes('chosenLengths') && 'lengths',
    ].filter(Boolean);
    const { divergence: _, divergenceAlpha: __, ...own } = loss.defaults;
    const defaults = Object.entries(own).map(([option, value]) => `\`${option}\` ${value}`);
    return [name, loss.formula, inputs.join(', '), defaults.join(', ') || 'none'];
  });
  assert.deepEqual(rows, wanted);
  const divergent = Object.entries(preferenceLosses).filter(([, { defaults }]) => defaults.divergence !== undefined);
  const [, named, kind, alpha] = /([^.]*) also take a `divergence` \(default (\w+).*Alpha` \(([\d.]+)\)/.exec(page)!;
  assert.deepEqual(
    codes(named!),
    divergent.map(([name]) => name),
  );
  for (const [, { defaults }] of divergent)
    assert.deepEqual([kind, Number(alpha)], [defaults.divergence, defaults.divergenceAlpha]);
});

test('every function of the library that is a loss is named', () => {
  const losses = Object.keys(library).filter((name) => /Loss(es)?$/.test(name) && name !== 'preferenceLosses');
  assert.ok(losses.length > 6, losses.join(', '));
  assert.deepEqual(
    losses.filter((name) => !codes(page).includes(name)),
    [],
  );
});

test('the defaults of the other losses are those that their commands declare, and all of them', () => {
  for (const [, command, , , defaults] of rowsUnder('## Other losses')) {
    const { settings } = catalog.find(({ name }) => name === codes(command!)[0])!;
    const declared = Object.entries(settings)
      .filter(([, { group, default: value, otherwise }]) => group === 'loss' && (value ?? otherwise) !== undefined)
      .map(([name, { default: value, otherwise }]) => [name, String(value ?? otherwise)]);
    assert.ok(declared.length > 0);
    assert.deepEqual(valuesIn(defaults!), Object.fromEntries(declared), command);
  }
});

function metricsIn(line: object, prefix = ''): string[] {
  return Object.entries(line).flatMap(([name, value]) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? metricsIn(value as object, `${prefix}${name}.`)
      : [`${prefix}${name}`],
  );
}

/** Of a run with several rewards. */
const OF_REWARDS = ['rewards.NAME.mean', 'rewards.NAME.deviation'];

test('each metric of a run is there, and no other; so is each rule of diagnose', () => {
  const everywhere = rowsUnder('### Every training').flatMap(([names]) => codes(names!));
  const onRows = rowsUnder('### SFT, DPO, KTO and reward models');
  const of = (method: string): Set<string> => {
    const own = onRows.filter(([, methods]) => methods!.split(', ').includes(method));
    const others = { ppo: '### PPO', grpo: '### GRPO and RLOO' }[method];
    return new Set([...everywhere, ...(others ? rowsUnder(others) : own).flatMap(([names]) => codes(names!))]);
  };
  const healthy = join(root, 'tests', 'runs', 'healthy');
  for (const method of ['sft', 'dpo', 'kto', 'reward', 'ppo', 'grpo']) {
    const runs = readdirSync(healthy).filter((name) => name.startsWith(`${method}-`));
    const lines = runs.flatMap((run) =>
      readFileSync(join(healthy, run, 'metrics.jsonl'), 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as object),
    );
    const written = new Set(lines.flatMap((line) => metricsIn(line)));
    const listed = of(method);
    const unlisted = [...written].filter((name) => !listed.has(name) && !listed.has(name.replace('validation.', '')));
    assert.deepEqual(unlisted, [], `${method}: metrics that the page lacks`);
    // those of a validation alone; and those that the kept runs leave out or are older than
    const elsewhere = ['validation', 'updates', ...(method === 'grpo' ? ['entropy', ...OF_REWARDS] : [])];
    const known = (name: string) => written.has(name) || written.has(`validation.${name}`) || elsewhere.includes(name);
    assert.deepEqual(
      [...listed].filter((name) => !known(name)),
      [],
      `${method}: metrics that no run has`,
    );
  }
  assert.deepEqual(
    diagnosisRules.map(({ name }) => name).filter((name) => !codes(page).includes(name)),
    [],
  );
});
