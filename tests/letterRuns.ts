/** Training commands run in this process, on a model whose tokens are letters, for the tests of a run's answers. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before } from 'node:test';

import { GPT2, tf, Tokenizer } from 'alignbook';

import { printedBy } from './inProcess';
import { LETTER_PAIRS, writeLetterModel } from './rollouts';

const folder = mkdtempSync(join(tmpdir(), 'live-answers-'));
after(() => rmSync(folder, { recursive: true }));
export const at = (...names: string[]): string => join(folder, ...names);
before(() => writeLetterModel(at('letters')));

export const lines = (all: readonly object[]): string => all.map((row) => JSON.stringify(row)).join('\n');
writeFileSync(
  at('pairs.jsonl'),
  lines(LETTER_PAIRS.map(([prompt, chosen, rejected]) => ({ prompt, chosen, rejected }))),
);
writeFileSync(at('rows.jsonl'), lines(LETTER_PAIRS.map(([prompt, response]) => ({ prompt, response }))));
const countOfA = "[...text].filter((letter) => letter === 'a').length / text.length";
writeFileSync(at('reward.cjs'), `module.exports = (all) => all.map(({ text }) => (text ? ${countOfA} : 0));`);

const base = { model: at('letters'), batchSize: 4, lr: 1e-2, maxNewTokens: 5 };
export const commands: Readonly<Record<string, object>> = {
  'train-sft': { ...base, data: at('rows.jsonl') },
  'train-dpo': { ...base, data: at('pairs.jsonl') },
  'train-kto': { ...base, data: at('pairs.jsonl') },
  'train-reward': { model: at('letters'), batchSize: 4, lr: 1e-2, data: at('pairs.jsonl') },
  'train-ppo': { ...base, data: at('pairs.jsonl'), rewardFunction: at('reward.cjs'), ppoEpochs: 1 },
  'train-grpo': { ...base, data: at('pairs.jsonl'), rewardFunction: at('reward.cjs'), groupSize: 4, lr: 3e-2 },
};

/** Runs a command in this process. @param onLine receives what it prints. */
export async function train(
  name: string,
  output: string,
  settings: object,
  onLine?: (line: string) => void,
): Promise<string> {
  writeFileSync(at('run.json'), JSON.stringify({ ...commands[name], output: at(output), ...settings }));
  return printedBy(name, at('run.json'), onLine);
}

/** As Ctrl-C would, for the handlers of the run. */
export const interrupt = () => void process.emit('SIGINT');
/** The exit status that the command set, which must not become this test's. */
export function takeStatus(): typeof process.exitCode {
  const { exitCode } = process;
  process.exitCode = undefined;
  return exitCode;
}

export interface Line {
  step: number;
  loss: number;
  seconds: number;
  validation?: Record<string, number>;
  scores?: { mean: number };
}
const jsonLines = <T>(...path: string[]): T[] =>
  readFileSync(at(...path), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as T);
/** Everything of the steps but their times. */
export const metrics = (run: string) => jsonLines<Line>(run, 'metrics.jsonl').map((line) => ({ ...line, seconds: 0 }));
export interface Sampled {
  step: number;
  prompt: string;
  response: string;
  tokens: number;
  ended: boolean;
}
export const samples = (run: string) => jsonLines<Sampled>(run, 'samples.jsonl');

/** Greedy decoding by whole forward passes and argmax, independent of `generate` and its cache. */
export async function greedy(model: string, prompt: string, most: number): Promise<Omit<Sampled, 'step' | 'prompt'>> {
  const policy = await GPT2.fromPretrained(model);
  const tokenizer = await Tokenizer.fromPretrained(model);
  const promptIds = tokenizer.encode(prompt);
  const ids: number[] = [];
  while (ids.length < most && ids.at(-1) !== tokenizer.eosTokenId)
    ids.push(
      tf.tidy(() => {
        const inputIds = tf.tensor2d([[...promptIds, ...ids]], undefined, 'int32');
        const last = policy.forward(inputIds).logits.gather([promptIds.length + ids.length - 1], 1);
        const values = [...last.dataSync()];
        return values.indexOf(Math.max(...values.slice(0, 37))); // of the ids that are letters
      }),
    );
  policy.dispose();
  const ended = ids.at(-1) === tokenizer.eosTokenId;
  return { response: tokenizer.decode(ended ? ids.slice(0, -1) : ids), tokens: ids.length, ended };
}
