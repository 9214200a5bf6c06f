/**
 * `npm run bench:growth`: how time and memory of a training step grow with its tokens, batch and layers.
 *
 * Each point is measured in a separate process, because a process never returns all of its memory.
 */
import { join } from 'node:path';

import { computePolicy, profileTable } from 'alignbook';
import { average } from 'alignbook/dist/moments';
import { whole } from 'alignbook/dist/ranges';
import { flag, number } from 'alignbook/dist/training/declare';

import { script } from '../command';
import { operations, type GrowthResult, type GrowthTask } from './growthTask';
import { headline, machine, writeResults } from './machine';
import { median, minimum, Worker } from './worker';

const middle: GrowthTask = { layers: 12, batch: 2, tokens: 128 };
const series: Readonly<Record<string, readonly GrowthTask[]>> = {
  tokens: [64, 128, 256, 512, 1024].map((tokens) => ({ ...middle, tokens })),
  batch: [1, 2, 4, 8].map((batch) => ({ ...middle, batch })),
  layers: [2, 4, 8, 12].map((layers) => ({ ...middle, layers })),
};

interface Point extends GrowthTask {
  readonly seconds: readonly number[];
  readonly peakMegabytes: number;
  /**
   * Operations per second: those of the step's products, over the time of the whole step; and those of the fastest
   * product.
   */
  readonly speed: number;
  readonly fastest: number;
  /** The profile of the last step. */
  readonly profile: GrowthResult['profile'];
}

async function measure(task: GrowthTask, repetitions: number): Promise<Point> {
  const worker = new Worker({ command: [process.execPath, join(__dirname, 'oursGrowth.js')], env: {} }, task);
  try {
    await worker.answer(); // ready and warm
    const answers = [];
    for (let n = 0; n < repetitions; n += 1) answers.push(await worker.repeat());
    const seconds = answers.map((answer) => answer.seconds);
    const { fastest, profile } = answers.at(-1)!.result as GrowthResult;
    return {
      ...task,
      seconds,
      peakMegabytes: worker.peak(),
      speed: operations(task) / minimum(seconds),
      fastest,
      profile,
    };
  } finally {
    worker.end();
  }
}

/** The least-squares line through the points, and the fraction of the variance that it explains. */
function fit(points: readonly (readonly [x: number, y: number])[]): {
  slope: number;
  start: number;
  explained: number;
} {
  const [meanX, meanY] = [average(points.map(([x]) => x)), average(points.map(([, y]) => y))];
  const sum = (of: (x: number, y: number) => number) =>
    points.reduce((total, [x, y]) => total + of(x - meanX, y - meanY), 0);
  const slope = sum((x, y) => x * y) / sum((x) => x * x);
  return { slope, start: meanY - slope * meanX, explained: (slope * sum((x, y) => x * y)) / sum((_, y) => y * y) };
}

const WIDTHS = [9, 9, 9, 13, 9];
const row = (head: string, columns: readonly string[]) =>
  console.log([head.padEnd(16), ...columns.map((column, n) => column.padStart(WIDTHS[n]!))].join(' '));

async function main({ repetitions, keep }: { repetitions: number; keep: boolean }): Promise<number> {
  const here = machine();
  console.log(`${headline(here)}, ${computePolicy}\n`);
  row('', ['min s', 'median s', 'peak MB', 'GFLOP/s', 'of peak']);
  const measured: Record<string, { points: Point[] }> = {};
  for (const [name, tasks] of Object.entries(series)) {
    const points: Point[] = [];
    measured[name] = { points };
    for (const task of tasks) {
      const point = await measure(task, repetitions);
      points.push(point);
      const { seconds, peakMegabytes, speed, fastest } = point;
      row(`${name} ${task[name as keyof GrowthTask]}`, [
        minimum(seconds).toFixed(3),
        median(seconds).toFixed(3),
        peakMegabytes.toFixed(0),
        (speed / 1e9).toFixed(0),
        `${((100 * speed) / fastest).toFixed(0)} %`,
      ]);
    }
    const along = (of: (point: Point) => number) =>
      fit(points.map((point) => [point[name as keyof GrowthTask], of(point)]));
    const [time, memory] = [along(({ seconds }) => minimum(seconds)), along(({ peakMegabytes }) => peakMegabytes)];
    const line = ({ slope, start, explained }: typeof time, unit: string) =>
      `${start.toPrecision(3)} + ${slope.toPrecision(3)} ${name} ${unit} (R2 ${explained.toFixed(3)})`;
    console.log(`  ${line(time, 's')}, ${line(memory, 'MB')}\n`);
  }
  writeResults('growth', here, measured, { keep });
  console.log(profileTable(measured['layers']!.points.at(-1)!.profile));
  return 0;
}

void script({
  name: 'bench:growth',
  summary:
    "Time SFT steps on a GPT-2 of random parameters, of the 124M model's size except for the number of layers: rows " +
    'of 64 to 1024 tokens, batches of 1 to 8 rows, 2 to 12 layers. Prints seconds, memory, the fraction of the ' +
    "machine's fastest matrix product, and the slopes; then where the time of a step goes.",
  settings: {
    repetitions: number(whole(1), { default: 5, help: 'Run each N times.' }),
    keep: flag({ help: 'Write the results to data/bench, where notebook 12 finds them, instead of to executed/.' }),
  },
  status: '0 done, 1 a process failed, 2 usage',
  run: ({ repetitions = 5, keep = false }) => main({ repetitions, keep }),
});
