/** What a training command does around its loop: the output folder, checkpoints, metrics, an interrupt, the trained model. */
import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';

import { FileError, InputError } from '../errors';
import { exportModel } from '../model/export';
import { FLOAT_DTYPES, type FloatDType } from '../model/safetensorsWriter';
import type { Trainable } from '../model/weights';
import { Best, type BestOptions } from '../training/best';
import type { AdamWOptions } from '../training/optimizer';
import { checkpointFolder, checkpoints, loadWeights, pruneCheckpoints, saveWeights, TrainingState } from '../training/state';
import { tensorBoard } from '../training/tensorBoard';
import { progress } from './usage';

export interface Run<Model extends Trainable> extends BestOptions {
  /** Made if it is not there; a run that was begun in it goes on. */
  readonly output: string;
  readonly model: Model;
  /** The model that it began as: its tokenizer goes along with the trained one. */
  readonly source: string;
  readonly steps: number;
  readonly saveEvery?: number | undefined;
  readonly keep?: number | undefined;
  /** Whether OUTPUT/tensorboard receives the metrics, too. */
  readonly tensorBoard?: boolean | undefined;
  readonly dtype?: FloatDType | undefined;
  readonly options: AdamWOptions;
  /** All that the result depends on: settings, and the rows as ids. A checkpoint of another run is refused. */
  readonly inputs: unknown;
  /** A last change of the trained model, after its last step and before it is written. */
  readonly finish?: (() => void) | undefined;
}

interface Step {
  readonly step: number;
  readonly loss: number;
  readonly gradNorm: number;
  readonly lr: number;
  readonly seconds: number;
  readonly validation?: { readonly loss: number };
}

type ValidationOf<S> = 'validation' extends keyof S ? NonNullable<S[keyof S & 'validation']> : never;

/**
 * Goes through the steps that `train` yields. OUTPUT/metrics.jsonl receives one line a step, OUTPUT/checkpoint-… every
 * `saveEvery` steps, OUTPUT/model the trained model: that of the last step, or of the best one if `bestBy` or `patience` is
 * given. SIGINT and SIGTERM save a checkpoint after the running step and exit with 130.
 *
 * @param line what the console shows of a step, after its number and loss, or of a validation.
 */
export async function trainRun<S extends Step, Model extends Trainable>(run: Run<Model>, train: (state: TrainingState<Model>) => AsyncIterable<S>, line: (metrics: S | ValidationOf<S>) => string): Promise<void> {
  const { model, steps, saveEvery = 100, keep = 2, dtype = 'F32' } = run;
  if (!FLOAT_DTYPES.includes(dtype)) throw new InputError(`dtype must be one of ${FLOAT_DTYPES.join(', ')}, got "${dtype}"`); // not after hours
  for (const [name, value] of Object.entries({ saveEvery, keep })) {
    if (!Number.isInteger(value) || value < 1) throw new InputError(`${name} must be a whole number from 1 up, got ${value}`);
  }
  const output = resolve(run.output);
  const trained = join(output, 'model');
  if (existsSync(trained)) throw new InputError(`${trained} is there already: this run is complete; give another output folder, or remove it`);
  mkdirSync(output, { recursive: true });
  pruneCheckpoints(output, keep);
  const fingerprint = createHash('sha256').update(JSON.stringify(run.inputs)).digest('hex');

  const best = run.bestBy !== undefined || run.patience !== undefined ? new Best(run) : undefined;
  const bestFolder = join(output, 'best');
  const [newest] = checkpoints(output);
  const state = newest === undefined ? TrainingState.begin(model, run.options) : TrainingState.resume(newest, model, run.options, fingerprint);
  const metrics = join(output, 'metrics.jsonl');
  for (const step of keptSteps(metrics, state.step)) best?.see(step);
  if (newest !== undefined) console.log(`going on after step ${state.step} of ${steps}`);

  const board = run.tensorBoard ? tensorBoard(join(output, 'tensorboard')) : undefined;

  let interrupted = false;
  const interrupt = () => (interrupted = true);
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  const save = () => {
    const folder = checkpointFolder(output, state.step);
    try {
      state.save(folder, fingerprint);
    } catch (cause) {
      const [last] = checkpoints(output);
      throw new FileError(folder, `cannot be saved (${(cause as Error).message}); free some space, and the same command goes on ${last === undefined ? 'from the beginning' : `from ${basename(last)}`}`, { cause });
    }
    pruneCheckpoints(output, keep);
  };
  const start = performance.now();
  const first = state.step;
  try {
    if (!best?.exhausted) {
      for await (const step of train(state)) {
        if (best?.see(step)) saveWeights(bestFolder, model);
        board?.(step);
        appendFileSync(metrics, `${JSON.stringify(step)}\n`);
        const left = ((performance.now() - start) / (step.step - first)) * (steps - step.step);
        const text = `step ${step.step} of ${steps}  loss ${step.loss.toFixed(4)}  ${line(step)}  ${duration(left)} left`;
        if (process.stderr.isTTY) progress(text);
        else if (step.step === first + 1 || step.step % Math.max(1, Math.round(steps / 20)) === 0) console.log(text);
        if (step.validation) {
          progress('');
          console.log(`validation after step ${step.step}  loss ${step.validation.loss.toFixed(4)}  ${line(step.validation as ValidationOf<S>)}${best?.step === step.step ? '  the best so far' : ''}`);
        }
        if (interrupted || best?.exhausted) break;
        if (step.step % saveEvery === 0 && step.step < steps) save();
      }
    }
    progress('');
    if (interrupted && state.step < steps && !best?.exhausted) {
      save();
      console.log(`interrupted; step ${state.step} is saved in ${output}, and the same command goes on from there`);
      process.exitCode = 130;
      return;
    }
    const took = `${state.step} steps in ${duration(performance.now() - start)}`;
    if (best?.step !== undefined) loadWeights(bestFolder, model);
    run.finish?.();
    await exportModel(model, trained, { source: run.source, dtype });
    rmSync(bestFolder, { recursive: true, force: true });
    console.log(`${took}; the model${best?.step === undefined ? '' : ` of step ${best.step}, the best,`} is in ${trained}`);
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
    state.dispose();
  }
}

/** The steps up to the checkpoint. What comes after will come again: its lines go, and so does one that was cut off. */
function keptSteps(path: string, steps: number): { step: number }[] {
  if (!existsSync(path)) writeFileSync(path, '');
  const lines = readFileSync(path, 'utf8').split('\n').filter((line) => line !== '').slice(0, steps);
  truncateSync(path, lines.reduce((length, line) => length + Buffer.byteLength(line) + 1, 0));
  return lines.map((line) => JSON.parse(line) as { step: number });
}

function duration(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  return seconds < 100 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}
