/**
 * Step 5, this library's part: runs the tasks of a file, one after another, under the policy of this process; at the
 * end, shows where the time goes.
 */
// oxlint-disable-next-line import/no-duplicates -- first: it reads the card's memory before TensorFlow takes any
import './card';

import { readFileSync } from 'node:fs';

import { computePolicy, profile, profileTable } from 'alignbook';

import type { Task } from '../bench/cases';
import { dpoSteps, generation, scoring, type Repeat } from '../bench/repeats';
import { megabytesTaken } from './card';
import { seen, step, timed } from './report';

/** A task from the file. */
export interface NamedTask extends Task {
  readonly name: string;
  readonly kind: 'dpo' | 'score' | 'generate';
}

export interface TaskFile {
  readonly tasks: readonly NamedTask[];
  readonly repetitions: number;
  /** Seconds for the repetitions of a task: a slow task is repeated less often. */
  readonly mostSeconds: number;
}

const WORK: Record<NamedTask['kind'], (task: Task) => Promise<Repeat>> = {
  dpo: dpoSteps,
  score: scoring,
  generate: generation,
};
const WARM_UP = 3;

/** Only the first of each kind: where its time goes. The whole table is in the log. */
async function tellProfile(name: string, repeat: Repeat): Promise<void> {
  const { ops, seconds } = await profile(repeat);
  const sum = (chosen: typeof ops, of: 'calls' | 'seconds') => chosen.reduce((total, op) => total + op[of], 0);
  const reads = ops.filter(({ op }) => op === 'read');
  const calls = ops.filter(({ op }) => op !== 'read');
  const products = calls.filter(({ op }) => /MatMul/.test(op));
  const share = (part: number) => `${(1000 * part).toFixed(1)} ms`;
  seen(
    `${name}: of ${share(seconds)}, ${sum(calls, 'calls')} calls ${share(sum(calls, 'seconds'))} ` +
      `(of these ${sum(products, 'calls')} products ${share(sum(products, 'seconds'))}), ` +
      `${sum(reads, 'calls')} reads, which wait, ${share(sum(reads, 'seconds'))}, ` +
      `JavaScript and copies to the device ${share(seconds - sum(ops, 'seconds'))}`,
  );
  for (const line of profileTable({ ops: ops.slice(0, 6), seconds })
    .split('\n')
    .slice(0, 6))
    seen(`  ${line}`);
  console.error(`${name}\n${profileTable({ ops, seconds })}`);
}

step(async () => {
  const { tasks, repetitions, mostSeconds } = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as TaskFile;
  const told = new Set<string>();
  for (const task of tasks) {
    const repeat = await WORK[task.kind]({ ...task, policy: computePolicy === 'bf16' ? 'bf16' : 'fp32' });
    for (let n = 0; n < WARM_UP; n += 1) await repeat();
    const seconds: number[] = [];
    const start = performance.now();
    let result: unknown; // the first repetition's result: after as many steps as the other contenders' first
    while (seconds.length < repetitions && performance.now() - start < 1000 * mostSeconds) {
      const before = performance.now();
      const made = await repeat();
      seconds.push((performance.now() - before) / 1000);
      result ??= made;
    }
    timed({ name: task.name, contender: 'ours', seconds, result, megabytes: megabytesTaken() });
    if (computePolicy !== 'fp32' || told.has(task.kind)) continue;
    told.add(task.kind);
    await tellProfile(task.name, repeat);
  }
});
