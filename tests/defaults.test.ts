/**
 * A setting's default stands in its declaration and nowhere else. Three other places repeat it: functions of rooms
 * above, which cannot read the declaration, the help's words for defaults that depend on another setting, and doc
 * comments. Here each is compared with the declaration.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import {
  distribution,
  dpoLoss,
  gae,
  groupAdvantages,
  grpoLoss,
  lora,
  nextToken,
  ppoLoss,
  preferenceLosses,
  Random,
  rewardLoss,
  rlooLoss,
  tf,
  tokenRewards,
  valueLoss,
} from 'alignbook';
import { catalog } from 'alignbook/dist/commands/catalog';
import { generateSettings } from 'alignbook/dist/commands/commandSettings';
import { loraSettings } from 'alignbook/dist/commands/runSettings';
import { defaultsOf, withDefaults } from 'alignbook/dist/training/declare';
import { dpoLossSettings } from 'alignbook/dist/training/dpoOptions';
import { grpoSettings } from 'alignbook/dist/training/grpoOptions';
import { KL_COEF, ppoSettings } from 'alignbook/dist/training/ppoOptions';
import { rewardSettings } from 'alignbook/dist/training/rewardOptions';

import { root } from '../scripts/paths';
import { loadEngineModel } from './engineFixtures';

/** The defaults that these commands declare, by name. */
function declaredBy(commands: typeof catalog): ReadonlyMap<string, ReadonlySet<string>> {
  const declared = new Map<string, Set<string>>();
  for (const { settings } of commands)
    for (const [name, value] of Object.entries(defaultsOf(settings)))
      declared.set(name, (declared.get(name) ?? new Set()).add(String(value)));
  return declared;
}
const ofTrainers = declaredBy(catalog.filter(({ name }) => name.startsWith('train-')));

function sources(room: string): { file: string; text: string }[] {
  const folder = join(root, 'lib', room);
  return readdirSync(folder)
    .filter((name) => name.endsWith('.ts'))
    .map((name) => ({ file: `${room}/${name}`, text: readFileSync(join(folder, name), 'utf8') }));
}

test('no trainer and no command repeats a declared default', () => {
  const names = { training: [...ofTrainers.keys()], commands: [...declaredBy(catalog).keys()] };
  assert.ok(names.training.length > 40, `${names.training.length}`); // the scan must know the settings
  const value = String.raw`(?:-?[\d.]|'|"|\[|true\b|false\b)`;
  const repeated = (room: 'training' | 'commands', text: string): string[] =>
    names[room].flatMap((name) => {
      const places = new RegExp(
        String.raw`^.*(?:[{,(]\s*${name}(?:: \w+)? = ${value}|\b${name}\b[^;,\n]*\?\? ${value}).*$`,
        'gm',
      );
      return [...text.matchAll(places)].map(([line]) => line.trim());
    });
  // The scan finds each form that it should.
  for (const line of ['{ batchSize = 16 }', 'of(a.batchSize ?? 64)', "{ loss = 'sigmoid' }", '(v["seed"] as n) ?? 0'])
    assert.equal(repeated('training', line).length, 1, line);
  const found = (['training', 'commands'] as const).flatMap((room) =>
    sources(room).flatMap(({ file, text }) => repeated(room, text).map((line) => `${file}: ${line}`)),
  );
  assert.deepEqual(found, []);
});

test('options that are undefined get their default, and false and 0 are kept', () => {
  const { klTarget, whitenRewards, gamma, batchSize, epsilon } = withDefaults(
    { whitenRewards: false, gamma: 0, batchSize: undefined, klTarget: undefined },
    ppoSettings,
  );
  assert.deepEqual([klTarget, whitenRewards, gamma, batchSize, epsilon], [undefined, false, 0, 64, 1e-5]);
});

test("a loss's own defaults are those of its trainer", () => {
  const perToken = (...values: number[]) => tf.tensor2d(values, [2, 2]);
  const logps = perToken(-1, -2, -3, -0.5);
  const oldLogps = perToken(-1.9, -1, -2, -2.5);
  const refLogps = perToken(-1.3, -2.2, -1, -0.6);
  const responseMask = tf.tensor2d([1, 1, 1, 0], [2, 2], 'int32');
  const advantages = perToken(1, -1, 2, 0.3);
  const values = perToken(0.9, 0.7, -0.4, 2);
  const oldValues = perToken(0.5, 0.6, 0.1, 1);
  const scores = tf.tensor1d([1.5, -0.5]);
  const group = { logps, oldLogps, refLogps, responseMask, advantages: tf.tensor1d([0.7, -1.1]) };
  const pair = {
    policyChosenLogps: tf.tensor1d([-3, -4]),
    policyRejectedLogps: tf.tensor1d([-5, -2]),
    refChosenLogps: tf.tensor1d([-4, -4.5]),
    refRejectedLogps: tf.tensor1d([-4.2, -3]),
  };
  const [ppo, grpo, reward] = [defaultsOf(ppoSettings), defaultsOf(grpoSettings), defaultsOf(rewardSettings)];
  /** The results without options, with those that are declared, and with others, which must differ. */
  const cases: readonly (readonly [string, (options?: object) => unknown, object, object])[] = [
    ['ppoLoss', (options) => ppoLoss({ logps, oldLogps, advantages, responseMask }, options), ppo, { clipRange: 0.5 }],
    [
      'valueLoss',
      (options) => valueLoss({ values, oldValues, returns: advantages, responseMask }, options),
      ppo,
      { valueClipRange: 0.3 },
    ],
    [
      'tokenRewards',
      (options) => tokenRewards({ logps, refLogps, responseMask, scores }, options),
      { klCoef: KL_COEF.fixed },
      { klCoef: 0.1 },
    ],
    [
      'gae, gaeLambda',
      (options) => gae({ rewards: advantages, values, responseMask }, options),
      ppo,
      { gaeLambda: 0.9 },
    ],
    ['gae, gamma', (options) => gae({ rewards: advantages, values, responseMask }, options), ppo, { gamma: 0.9 }],
    ['grpoLoss, clipRange', (options) => grpoLoss(group, options), grpo, { clipRange: 0.5 }],
    ['grpoLoss, beta', (options) => grpoLoss(group, options), grpo, { beta: 0.1 }],
    ['grpoLoss, klRatio', (options) => grpoLoss(group, options), grpo, { klRatio: true }],
    ['grpoLoss, level', (options) => grpoLoss(group, options), grpo, { level: 'sequence' }],
    ['grpoLoss, lossType', (options) => grpoLoss(group, options), grpo, { lossType: 'dapo' }],
    ['rlooLoss', (options) => rlooLoss(group, options), grpo, { clipRange: 0.9 }],
    ['groupAdvantages', (options) => groupAdvantages([1, 2, 4, 3], 2, options), grpo, { scaleRewards: false }],
    ['rewardLoss', (options) => rewardLoss(scores, tf.tensor1d([0.1, 0.7]), options), reward, { centerRewards: 1 }],
    ['dpoLoss, beta', (options) => dpoLoss(pair, options).losses, preferenceLosses.sigmoid.defaults, { beta: 0.2 }],
    [
      'dpoLoss, labelSmoothing',
      (options) => dpoLoss(pair, options).losses,
      preferenceLosses.sigmoid.defaults,
      { labelSmoothing: 0.1 },
    ],
  ];
  const numbers = (result: unknown): unknown =>
    JSON.stringify(result, (_, value: unknown) => (value instanceof tf.Tensor ? [...value.dataSync()] : value));
  for (const [name, loss, defaults, other] of cases) {
    assert.equal(numbers(loss()), numbers(loss(defaults)), name);
    assert.notEqual(numbers(loss()), numbers(loss(other)), name);
  }
});

test("sampling's own defaults, and those of adapters, are declared", async () => {
  const { temperature, repetitionPenalty } = defaultsOf(generateSettings);
  const logits = () => Float32Array.of(1, 3, 2.5, 0);
  const next = (options: object) => nextToken(logits(), options, new Random(1), [1]);
  assert.equal(next({}), next({ temperature, repetitionPenalty }));
  assert.notEqual(next({}), next({ repetitionPenalty: 2 }));
  assert.deepEqual(
    distribution(logits(), {}),
    distribution(logits(), { temperature: grpoSettings.temperature.default }),
  );

  const { otherwise } = loraSettings.loraTargets;
  const { model: base } = await loadEngineModel('a-group');
  const adapted = (options: object) => lora(base, { rank: 1, ...options }, new Random(0)).weights.trained.names;
  assert.deepEqual(adapted({}), adapted({ targets: [otherwise] }));
});

test("the help's words are the defaults of the table of losses", () => {
  const losses = Object.entries(preferenceLosses);
  for (const [option, { otherwise, default: value }] of Object.entries(dpoLossSettings)) {
    if (option === 'loss') continue;
    assert.equal(value, undefined, `${option}: it would be filled in, also for losses that do not take it`);
    const names = new Map<unknown, string[]>();
    for (const [name, { defaults }] of losses) {
      const own = (defaults as Readonly<Record<string, unknown>>)[option];
      if (own !== undefined) names.set(own, [...(names.get(own) ?? []), name]);
    }
    const [common, ...others] = [...names].sort(([, a], [, b]) => b.length - a.length);
    const words = [`${common![0]}`, ...others.map(([own, losses]) => `${losses.join(', ')}: ${own}`)].join('; ');
    assert.equal(otherwise, words, option);
  }
});

test('a default in a doc comment of a trainer is a declared one', () => {
  let compared = 0;
  for (const { file, text } of sources('training'))
    for (const [, comment, name] of text.matchAll(/\/\*\*((?:(?!\*\/)[^])*)\*\/\s*(?:readonly )?(\w+)\?:/g)) {
      const words = /\bDefault ([^\s,]+?)[.,]?(?:\s|$)/.exec(comment!)?.[1];
      const values = ofTrainers.get(name!);
      if (words === undefined || values === undefined) continue;
      const isValue = [...values].some((value) => value === words || Number(value) === Number(words));
      assert.ok(isValue, `${file}: ${name} is said to be ${words}, and declared as ${[...values].join(' or ')}`);
      compared += 1;
    }
  assert.ok(compared > 20, `${compared}`);
});
