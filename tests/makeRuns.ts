/**
 * Makes the runs of tests/runs again: made/ by the trainings of madeRuns.ts (two minutes), healthy/ by the
 * commands of the documentation with several seeds each (about an hour on two cores):
 *
 *     node .alignbook/build/tests/makeRuns.js made [NAME…]
 *     node .alignbook/build/tests/makeRuns.js healthy
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { diagnose, showDiagnosis } from 'alignbook';

import { root } from '../scripts/paths';
import { MADE_RUNS, Start } from './madeRuns';

const fixtures = join(root, 'tests', 'runs');

/** Without the lists of PPO's updates, which the step averages. */
function write(folder: string, history: readonly object[], settings: object): void {
  mkdirSync(folder, { recursive: true });
  const lines = history.map((step) => `${JSON.stringify({ ...step, updates: undefined })}\n`);
  writeFileSync(join(folder, 'metrics.jsonl'), lines.join(''));
  writeFileSync(join(folder, 'run-settings.json'), `${JSON.stringify({ settings }, null, 2)}\n`);
}

async function makeMade(names: readonly string[]): Promise<void> {
  const start = await Start.make();
  for (const { name, finds, train } of MADE_RUNS) {
    if (names.length > 0 && !names.includes(name)) continue;
    const { options, steps } = await train(start);
    const history: object[] = [];
    for await (const step of steps) history.push(step);
    write(join(fixtures, 'made', name), history, options);
    const diagnosis = diagnose(history, options);
    const found = diagnosis.findings.map(({ rule }) => rule).join(', ');
    console.log(
      found === finds.join(', ') ? `${name}: as expected` : `${name}: finds ${found}, not ${finds.join(', ')}`,
    );
    showDiagnosis(diagnosis);
  }
  start.remove();
}

const PAIRS = 'data/preferences';
const VALIDATION = `${PAIRS}/validation.jsonl`;
const JUDGE = ['--reward-model', 'reward-0/model'];
/** The project's own trainings, and the steps of each seed: some fewer than their files say, to save time. */
const HEALTHY: Readonly<
  Record<string, readonly [command: string, steps: readonly number[], more?: readonly string[]]>
> = {
  sft: ['train-sft --config data/reviews/train-sft.json', [20, 20, 20]],
  reward: [`train-reward --config ${PAIRS}/train-reward.json --normalize-on ${VALIDATION}`, [80, 40, 40]],
  dpo: [`train-dpo --config ${PAIRS}/train-dpo.json`, [50, 50, 50]],
  kto: [
    `train-kto --model tiny --data ${PAIRS}/train.jsonl --lr 1e-4 --validation ${VALIDATION} --validate-every 25`,
    [50, 50, 50],
  ],
  grpo: [`train-grpo --config ${PAIRS}/train-grpo.json`, [12, 8, 8], JUDGE],
  ppo: [`train-ppo --config ${PAIRS}/train-ppo.json`, [12, 8, 5], JUDGE],
};

function makeHealthy(): void {
  const out = mkdtempSync(join(tmpdir(), 'healthy-'));
  for (const [method, [command, counts, more = []]] of Object.entries(HEALTHY))
    counts.forEach((steps, seed) => {
      const name = `${method}-${seed}`;
      const judge = more.map((value) => (value.startsWith('--') ? value : join(out, value)));
      const given = ['--steps', `${steps}`, '--seed', `${seed}`, '--output', join(out, name), ...judge];
      const all = [join(root, 'lib', 'bin', 'alignbook.js'), ...command.split(' '), ...given];
      const { status } = spawnSync(process.execPath, all, { cwd: root, stdio: 'inherit' });
      if (status !== 0) throw new Error(`${name}: exit status ${status}`);
      const lines = readFileSync(join(out, name, 'metrics.jsonl'), 'utf8')
        .trim()
        .split('\n');
      const { settings } = JSON.parse(readFileSync(join(out, name, 'run-settings.json'), 'utf8')) as {
        settings: object;
      };
      const moved = Object.entries(settings).map(([field, value]) => [
        field,
        typeof value === 'string' ? value.replace(out, 'runs') : (value as unknown),
      ]);
      write(
        join(fixtures, 'healthy', name),
        lines.map((line) => JSON.parse(line) as object),
        Object.fromEntries(moved) as object,
      );
    });
  rmSync(out, { recursive: true });
}

const [what, ...names] = process.argv.slice(2);
if (what === 'healthy') makeHealthy();
else if (what === 'made') void makeMade(names);
else console.error('give made or healthy');
