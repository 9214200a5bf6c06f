/** What a training command does around its loop: the output folder, checkpoints, metrics, an interrupt, the trained model. */
import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { InputError } from '../errors';
import { exportModel } from '../model/export';
import type { GPT2 } from '../model/gpt2';
import { FLOAT_DTYPES, type FloatDType } from '../model/safetensorsWriter';
import type { AdamWOptions } from '../training/optimizer';
import { checkpointFolder, checkpoints, pruneCheckpoints, TrainingState } from '../training/state';
import { progress } from './usage';

export interface Run {
  /** Made if it is not there; a run that was begun in it goes on. */
  readonly output: string;
  readonly model: GPT2;
  /** The model that it began as: its tokenizer goes along with the trained one. */
  readonly source: string;
  readonly steps: number;
  readonly saveEvery: number;
  readonly keep: number;
  readonly dtype: FloatDType;
  readonly options: AdamWOptions;
  /** All that the result depends on: settings, and the rows as ids. A checkpoint of another run is refused. */
  readonly inputs: unknown;
}

interface Step {
  readonly step: number;
  readonly loss: number;
  readonly gradNorm: number;
  readonly lr: number;
  readonly seconds: number;
}

/**
 * Goes through the steps that `train` yields. OUTPUT/metrics.jsonl receives one line a step, OUTPUT/checkpoint-… every
 * `saveEvery` steps, OUTPUT/model the trained model. SIGINT and SIGTERM save a checkpoint after the running step and exit with 130.
 *
 * @param line what the console shows of a step, after its number and loss.
 */
export async function trainRun<S extends Step>(run: Run, train: (state: TrainingState) => AsyncIterable<S>, line: (step: S) => string): Promise<void> {
  const { model, steps, saveEvery, keep, dtype } = run;
  if (!FLOAT_DTYPES.includes(dtype)) throw new InputError(`dtype must be one of ${FLOAT_DTYPES.join(', ')}, got "${dtype}"`); // not after hours
  for (const [name, value] of Object.entries({ saveEvery, keep })) {
    if (!Number.isInteger(value) || value < 1) throw new InputError(`${name} must be a whole number from 1 up, got ${value}`);
  }
  const output = resolve(run.output);
  const trained = join(output, 'model');
  if (existsSync(trained)) throw new InputError(`${trained} is there already: this run is complete; give another output folder, or remove it`);
  mkdirSync(output, { recursive: true });
  const fingerprint = createHash('sha256').update(JSON.stringify(run.inputs)).digest('hex');

  const [newest] = checkpoints(output);
  const state = newest === undefined ? TrainingState.begin(model, run.options) : TrainingState.resume(newest, model, run.options, fingerprint);
  const metrics = join(output, 'metrics.jsonl');
  keepMetrics(metrics, state.step);
  if (newest !== undefined) console.log(`going on after step ${state.step} of ${steps}`);

  let interrupted = false;
  const interrupt = () => (interrupted = true);
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  const save = () => {
    state.save(checkpointFolder(output, state.step), fingerprint);
    pruneCheckpoints(output, keep);
  };
  const start = performance.now();
  const first = state.step;
  try {
    for await (const step of train(state)) {
      appendFileSync(metrics, `${JSON.stringify(step)}\n`);
      const left = ((performance.now() - start) / (step.step - first)) * (steps - step.step);
      const text = `step ${step.step} of ${steps}  loss ${step.loss.toFixed(4)}  ${line(step)}  ${duration(left)} left`;
      if (process.stderr.isTTY) progress(text);
      else if (step.step === first + 1 || step.step % Math.max(1, Math.round(steps / 20)) === 0) console.log(text);
      if (interrupted) break;
      if (step.step % saveEvery === 0 && step.step < steps) save();
    }
    progress('');
    if (interrupted && state.step < steps) {
      save();
      console.log(`interrupted; step ${state.step} is saved in ${output}, and the same command goes on from there`);
      process.exitCode = 130;
      return;
    }
    await exportModel(model, trained, { source: run.source, dtype });
    console.log(`${steps} steps in ${duration(performance.now() - start)}; the model is in ${trained}`);
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
    state.dispose();
  }
}

/** Steps after the checkpoint will come again: their lines go, and so does one that was cut off. */
function keepMetrics(path: string, steps: number): void {
  if (!existsSync(path)) return writeFileSync(path, '');
  let length = 0;
  for (const line of readFileSync(path, 'utf8').split('\n').slice(0, steps)) length += Buffer.byteLength(line) + 1;
  truncateSync(path, length);
}

function duration(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  return seconds < 100 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}
