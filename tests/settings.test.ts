/**
 * Tries every number that a training command takes at -1, 0, 0.5 and 1e308. Each is refused before the model is opened,
 * or leads to a step with finite weights, in the same direction as the step without it. The commands run in this
 * process.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { InputError, SafetensorsFile } from 'alignbook';
import { catalog } from 'alignbook/dist/commands/catalog';

import { printedBy } from './inProcess';
import { LETTER_PAIRS, writeLetterModel } from './rollouts';

const folder = mkdtempSync(join(tmpdir(), 'settings-'));
after(() => rmSync(folder, { recursive: true }));
const at = (name: string): string => join(folder, name);
before(() => writeLetterModel(at('letters')));

writeFileSync(
  at('pairs.jsonl'),
  LETTER_PAIRS.map(([prompt, chosen, rejected]) => JSON.stringify({ prompt, chosen, rejected })).join('\n'),
);
writeFileSync(
  at('rows.jsonl'),
  LETTER_PAIRS.map(([prompt, response]) => JSON.stringify({ prompt, response })).join('\n'),
);
writeFileSync(
  at('reward.cjs'),
  'module.exports = (samples) => samples.map(({ text, ended }, n) => [...text].filter((letter) => letter < ' +
    "'m').length + (ended ? 1 : 0) + n / 10);",
);

const base = { model: at('letters'), steps: 1, batchSize: 4, lr: 1e-2 };
/** Without samples of answers, which have tests of their own (liveAnswers.test.ts). */
const quiet = { ...base, sampleEvery: 0 };
const sampled = { ...quiet, data: at('pairs.jsonl'), rewardFunction: at('reward.cjs'), maxNewTokens: 3 };
/** The settings for one step of each command. */
const commands: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  'train-sft': { ...quiet, data: at('rows.jsonl') },
  'train-dpo': { ...quiet, data: at('pairs.jsonl') },
  'train-kto': { ...quiet, data: at('pairs.jsonl') },
  'train-reward': { ...base, data: at('pairs.jsonl') },
  'train-ppo': { ...sampled, ppoEpochs: 1 },
  'train-grpo': { ...sampled, groupSize: 2 },
  'train-online-dpo': sampled,
};

/** Other settings without which a field would have no meaning. */
const BESIDE: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  epochs: { steps: undefined },
  loraAlpha: { loraRank: 2 },
  divergenceAlpha: { divergence: 'alpha' },
  discopopTau: { loss: 'discopop' },
  gamma: { loss: 'simpo' },
  nllCoef: { loss: 'cpo' },
  klHorizon: { klTarget: 1 },
  patience: { validation: at('pairs.jsonl') },
  warmupSteps: { steps: 2 },
};
const beside = (command: string, field: string) => {
  const more = field === 'gamma' && command !== 'train-dpo' ? {} : (BESIDE[field] ?? {});
  return command === 'train-sft' && field === 'patience' ? { validation: at('rows.jsonl') } : more;
};

/** Runs a command in this process and captures its output. */
async function train(name: string, output: string, settings: Readonly<Record<string, unknown>>): Promise<string> {
  writeFileSync(at('run.json'), JSON.stringify({ ...commands[name]!, output, ...settings }));
  return printedBy(name, at('run.json'));
}

/** All weights of a model's folder. */
function weightsOf(model: string): Float32Array {
  using file = new SafetensorsFile(join(model, 'model.safetensors'));
  // a reward model's head is drawn at random, so it has no earlier value
  const names = [...file.tensors.keys()].filter((name) => !name.startsWith('score')).sort();
  return Float32Array.from(names.flatMap((name) => [...file.float32(name)]));
}
const changes = (from: Float32Array, to: Float32Array): Float64Array =>
  Float64Array.from(to, (value, n) => value - from[n]!);
const product = (a: Float64Array, b: Float64Array): number => a.reduce((sum, value, n) => sum + value * b[n]!, 0);

const VALUES = [-1, 0, 0.5, 1e308] as const;

/** Which of the values each field takes, stated here independently of the library's table. None is below 0. */
const ALLOWED: Readonly<Record<string, readonly (typeof VALUES)[number][]>> = {
  ...Object.fromEntries(
    [
      'steps',
      'batchSize',
      'accumulation',
      'loraRank',
      'validateEvery',
      'patience',
      'saveEvery',
      'keep',
      'maxLength',
      'limit',
      'judgeTimeout',
      'concurrency',
      'referenceEvery',
    ].map((counted) => [counted, []]),
  ),
  ...Object.fromEntries(
    ['maxNewTokens', 'ppoEpochs', 'minibatches', 'klHorizon', 'groupSize', 'iterations'].map((counted) => [
      counted,
      [],
    ]),
  ),
  ...Object.fromEntries(
    ['seed', 'initialSeed', 'shuffleSeed', 'warmupSteps', 'labelSmoothing', 'sampleEvery'].map((field) => [field, [0]]),
  ),
  ...Object.fromEntries(
    [
      'lr',
      'minLrRatio',
      'beta1',
      'beta2',
      'weightDecay',
      'gamma',
      'nllCoef',
      'centerRewards',
      'desirableWeight',
      'undesirableWeight',
      'missingEosPenalty',
      'lengthPenalty',
      'valueCoef',
      'gaeLambda',
      'klCoef',
    ].map((field) => [field, [0, 0.5]]),
  ),
  ...Object.fromEntries(
    [
      'epochs',
      'epsilon',
      'loraAlpha',
      'divergenceAlpha',
      'discopopTau',
      'temperature',
      'clipRange',
      'epsilonHigh',
      'valueClipRange',
      'klTarget',
      'referenceAlpha',
    ].map((field) => [field, [0.5]]),
  ),
  maxGradNorm: [0, 0.5, 1e308], // 0 does not clip, as in transformers
};
/** A KL coefficient of 0 is allowed in GRPO; DPO with a beta of 0 has nothing to learn. */
const allowed = (command: string, field: string) =>
  field === 'beta'
    ? command === 'train-grpo'
      ? [0, 0.5]
      : [0.5]
    : ['loraAlpha', 'sampleEvery'].includes(field) && command === 'train-reward'
      ? []
      : ALLOWED[field];

/** Allowed, as in transformers, although nothing is learned then: the run says so. */
const still = (field: string, value: number) => field === 'lr' && value === 0;
/**
 * Settings that change the objective, the samples or the starting point may change the direction of the step; LoRA's
 * adapters change other weights. DiscoPOP's slope at a margin of 0 is (1 - ln 2) / (4 tau) - 3/4 (the derivative of Eq.
 * 5): above 0 at the default tau of 0.05, below 0 at 0.5.
 */
const OTHER_WAY = [
  'temperature',
  'missingEosPenalty',
  'lengthPenalty',
  'initialSeed',
  'shuffleSeed',
  'loraAlpha',
  'gamma',
  'gaeLambda',
  'discopopTau',
];

/** Ranges that depend on another setting. */
const TOGETHER = [
  /^klHorizon must be above 0\.8, a fifth of batchSize, got 0\.5: /,
  /^loraRank: a reward model is trained without adapters; /,
  /^sampleEvery: a reward model gives scores, not answers; /,
];

for (const name of Object.keys(commands)) {
  const { settings } = catalog.find((command) => command.name === name)!;
  const numbers = Object.keys(settings).filter((field) => settings[field]!.kind === 'number');

  test(`${name}: each of its ${numbers.length} numbers has a range, which a message tells`, () => {
    assert.deepEqual(
      numbers.filter((field) => settings[field]!.range === undefined),
      [],
    );
    assert.ok(numbers.length >= 20, `${numbers.length}`); // the loop must have covered the commands' fields
  });

  test(`${name}: every number at -1, 0, 0.5 and 1e308 is refused before the model is opened, or trains`, async () => {
    const begin = weightsOf(at('letters'));
    const plain = new Map<string, Float64Array>();
    for (const field of numbers) {
      const more = beside(name, field);
      for (const value of VALUES) {
        const what = `${name}, ${field} ${value}`;
        const output = at('out');
        rmSync(output, { recursive: true, force: true });
        const refusal = await train(name, output, { ...more, [field]: value, model: at('none') }).then(
          () => undefined,
          (error: Error) => error,
        );
        const range = new RegExp(
          `^${field} must be (at most [\\de+]+|${settings[field]!.range!.words.replace(/[()[\]^]/g, '\\$&')}), ` +
            `got ${String(value).replace('+', '\\+')}(: .*)?$`,
        );
        assert.ok(!existsSync(output), `${what}: something was written`);
        const taken = refusal!.message.startsWith(`${at('none')} is not there`) && field !== 'maxLength';
        assert.equal(taken, allowed(name, field)?.includes(value), `${what}: ${refusal!.message}`);
        if (!refusal!.message.startsWith(`${at('none')} is not there`)) {
          assert.ok(
            refusal instanceof InputError && [range, ...TOGETHER].some((expected) => expected.test(refusal.message)),
            `${what}: ${refusal!.message}`,
          );
          continue;
        }

        if (field === 'maxLength') {
          // its range depends on the model's window, 20 here
          await assert.rejects(
            train(name, output, { ...more, [field]: value }),
            new RegExp(
              `^InputError: maxLength must be a whole number from 2 to \\d+, the model's window, got ` +
                `${String(value).replace('+', '\\+')}$`,
            ),
          );
          assert.ok(!existsSync(output), `${what}: something was written`);
          continue;
        }
        const printed = await train(name, output, { ...more, [field]: value });
        const end = weightsOf(join(output, 'model'));
        assert.ok(end.every(Number.isFinite), `${what}: a weight is not finite`);
        const moved = changes(begin, end);
        if (still(field, value)) {
          assert.ok(
            moved.every((change) => change === 0) && /^note: lr is 0, so nothing is learned$/m.test(printed),
            what,
          );
          continue;
        }
        assert.ok(product(moved, moved) > 0, `${what}: nothing was learned`);
        if (OTHER_WAY.includes(field)) continue;
        const key = JSON.stringify(more);
        if (!plain.has(key)) {
          rmSync(output, { recursive: true });
          await train(name, output, { ...more, ...(field === 'epochs' && { steps: 1 }) });
          plain.set(key, changes(begin, weightsOf(join(output, 'model'))));
        }
        assert.ok(product(moved, plain.get(key)!) > 0, `${what}: it went the other way`);
      }
    }
  });
}
