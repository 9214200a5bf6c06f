/** The code around a trainer's loop: output folder, checkpoints, metrics, interrupts, and the trained model. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';

import type { Variables } from '../engine/variables';
import { FileError, InputError, plural } from '../errors';
import type { FloatDType } from '../formats/safetensorsWriter';
import { exportCompanions, writeExport, type Companions } from '../model/export';
import { writeAdapter } from '../model/exportAdapter';
import type { Trainable } from '../model/weights';
import { computePolicy } from '../tf';
import { Best, type BestOptions } from '../training/best';
import { checkpoints } from '../training/checkpointFolders';
import { withDefaults, type OptionsOf } from '../training/declare';
import { tensorBoard } from '../training/eventFiles';
import type { AdamWOptions } from '../training/optimizer';
import type { Fingerprint, TrainingState } from '../training/state';
import type { LiveAnswers } from './liveAnswers';
import { beginMeasures, inWords, measured, printBeforeAndAfter, showValidation, tellSamples } from './liveRun';
import { RunFolder } from './runFolder';
import { runSettings } from './runSettings';
import { SampleLog } from './sampleLog';
import { duration, statusLine, stepLines } from './terminal';
import { identifying } from './trainSettings';

export interface Run<Model extends Trainable> {
  /** The settings. The output folder is created if it is missing; a run already started in it continues. */
  readonly config: OptionsOf<typeof runSettings> & BestOptions & AdamWOptions;
  readonly model: Model;
  readonly steps: number;
  /** Whatever the result depends on besides the settings: rows as ids, digests of weights and code. */
  readonly contents: Readonly<Record<string, unknown>>;
  /** The optimizer's options. Default: taken from the settings. */
  readonly adam?: AdamWOptions;
  /** Whether checkpoints also hold a whole model that changes beside the trained one, such as a moving reference. */
  readonly holdsModelBeside?: boolean;
  /** What is shown and measured of the model's answers. Its `interruption` is aborted on an interrupt. */
  readonly live?: LiveAnswers | undefined;
  /** Changes the trained model after the last step, before it is written. */
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

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** The reason with which the interruption of `live` is aborted. */
class Interrupted extends Error {}

/**
 * Runs the steps that `train` yields. OUTPUT/metrics.jsonl receives one line per step. OUTPUT/checkpoint-… is written
 * every `saveEvery` steps and after the last step. OUTPUT/model is the trained model after the last step, or after the
 * best one if `bestBy` or `patience` is given; OUTPUT/adapter has the adapters alone where a run trains some.
 * OUTPUT/samples.jsonl has answers of the model, before the first step, during the training and at its end. SIGINT,
 * SIGTERM and SIGHUP save a checkpoint after the current step and exit with status 130; a step that fails also leaves
 * a checkpoint. Everything that the export needs is read before the first step, and rerunning the same command
 * completes an export that failed.
 *
 * @param line returns the text that the console shows about a step or a validation, after its number and loss.
 */
export async function trainRun<S extends Step, Model extends Trainable>(
  run: Run<Model>,
  train: (state: TrainingState<Model>) => AsyncIterable<S>,
  line: (metrics: S | ValidationOf<S>) => string,
): Promise<void> {
  const { config, model, steps } = run;
  const { saveEvery, keep, dtype } = withDefaults(config, runSettings);
  const companions = await exportCompanions(model, config.model);
  const looksForBest = config.bestBy !== undefined || config.patience !== undefined;
  using folder = new RunFolder(config.output, { keep, best: looksForBest ? () => new Best(config) : undefined });
  const fingerprint = fingerprintOf(run, companions);
  const state = folder.begin(model, run.adam ?? config, fingerprint, (text) => console.error(text));
  if (state.step > 0) console.log(`going on after step ${state.step} of ${steps}`);
  folder.requireRoom(
    roomFor(model, {
      holdsModelBeside: run.holdsModelBeside ?? false,
      dtype,
      looksForBest,
      checkpoints: Math.min(keep, Math.floor((steps - 1) / saveEvery)) + 1 - checkpoints(folder.path).length,
    }),
  );
  try {
    folder.keepSettings(config);
    const samples = run.live && new SampleLog(folder.path, run.live, state.step);
    const ended = await runSteps({ run, folder, state, fingerprint, samples }, train, line);
    if (ended === 'interrupted') process.exitCode = 130;
    else {
      const written = finishRun(run, folder, state, { fingerprint, companions, dtype, took: ended.took });
      if (samples) await printBeforeAndAfter(samples, written);
    }
  } finally {
    state.dispose();
  }
}

/** A run that has begun. */
interface Going<Model extends Trainable> {
  readonly run: Run<Model>;
  readonly folder: RunFolder;
  readonly state: TrainingState<Model>;
  readonly fingerprint: Fingerprint;
  readonly samples: SampleLog | undefined;
}

/** The loop. @returns `interrupted`, or the number of steps and the time that they took, in words for the console. */
async function runSteps<S extends Step, Model extends Trainable>(
  { run, folder, state, fingerprint, samples }: Going<Model>,
  train: (state: TrainingState<Model>) => AsyncIterable<S>,
  line: (metrics: S | ValidationOf<S>) => string,
): Promise<'interrupted' | { took: string }> {
  const { model, steps } = run;
  const { saveEvery, tensorBoard: hasBoard } = withDefaults(run.config, runSettings);
  const board = hasBoard ? tensorBoard(join(folder.path, 'tensorboard'), { after: state.step }) : undefined;
  let interrupted = false;
  let cut = false; // within a step, or while its answers were measured
  const interrupt = () => {
    for (const signal of SIGNALS) process.off(signal, interrupt); // a second signal ends the process
    interrupted = true;
    run.live?.interruption.abort(new Interrupted('interrupted'));
  };
  for (const signal of SIGNALS) process.on(signal, interrupt);

  const start = performance.now();
  const first = state.step;
  let saved = first;
  let updates = state.optimizer.steps; // after the last complete step
  const save = (options?: { prune: boolean }) => {
    folder.save(state, fingerprint, options);
    saved = state.step;
  };
  const { best } = folder;
  const show = stepLines(steps, first);
  try {
    if (samples) await beginMeasures(run.live!, folder, model, { step: first, samples, board });
    if (!best?.exhausted && !interrupted) {
      for await (const step of train(state)) {
        updates = state.optimizer.steps;
        requireFiniteValidation(step);
        const { event, metrics } = await measured(run.live, folder, model, step);
        folder.add(event, model);
        board?.(event);
        show(step.step, described(step, line));
        if (event.validation) {
          const own = step.validation ? [described(step.validation as ValidationOf<S>, line)] : [];
          const isBest = best?.step === step.step ? ['the best so far'] : [];
          showValidation(`after step ${step.step}`, [...own, ...inWords(metrics), ...isBest]);
        }
        if (run.live?.isSampled(step.step)) await tellSamples(samples!, run.live, step.step);
        if (interrupted || best?.exhausted) break;
        if (step.step % saveEvery === 0 && step.step < steps) save();
      }
    }
    statusLine('');
  } catch (error) {
    statusLine('');
    cut = error instanceof Interrupted;
    if (!cut) {
      // Save the steps before the one that failed. If a step failed between two updates, the weights belong to no step.
      if (state.step > saved && state.optimizer.steps === updates && saves(() => save({ prune: false }))) {
        console.log(`step ${state.step} is saved in ${folder.path}, and the same command goes on from there`);
      }
      throw error;
    }
  } finally {
    for (const signal of SIGNALS) process.off(signal, interrupt);
  }
  const isWhole = state.step >= steps || best?.exhausted;
  if (!interrupted || (isWhole && !cut))
    return { took: `${plural(state.step, 'step')} in ${duration(performance.now() - start)}` };
  if (state.step > saved) save();
  console.log(
    state.step === 0
      ? 'interrupted before the first step'
      : `interrupted; step ${state.step} is saved in ${folder.path}, and the same command goes on from there`,
  );
  return 'interrupted';
}

/** @throws InputError naming the step. */
function requireFiniteValidation({ step, validation }: Step): void {
  if (validation && !Number.isFinite(validation.loss))
    throw new InputError(
      `the validation after step ${step} has a loss of ${validation.loss}; ` +
        'check its rows, or try a lower lr or a longer warm-up',
    );
}

const described = <M extends { readonly loss: number }>(metrics: M, line: (metrics: M) => string): string =>
  `loss ${metrics.loss.toFixed(4)}  ${line(metrics)}`;

/** Whether a checkpoint could be saved. If not, it prints the reason, and the caller continues with its own error. */
function saves(save: () => void): boolean {
  try {
    save();
    return true;
  } catch (error) {
    console.error(`alignbook: ${(error as Error).message}`);
    return false;
  }
}

/**
 * Goes from the last step to OUTPUT/model. A disk without space for a checkpoint of the last step may have space for
 * the model, which is smaller.
 *
 * @returns the step whose weights the model has.
 */
function finishRun<Model extends Trainable>(
  run: Run<Model>,
  folder: RunFolder,
  state: TrainingState<Model>,
  {
    fingerprint,
    companions,
    dtype,
    took,
  }: { fingerprint: Fingerprint; companions: Companions; dtype: FloatDType; took: string },
): number {
  let unsaved: Error | undefined;
  try {
    folder.saveLast(state, fingerprint);
  } catch (error) {
    unsaved = error as Error;
  }
  const best = folder.loadBest(run.model);
  run.finish?.();
  let hasAdapter: boolean;
  try {
    hasAdapter = writeAdapter(run.model, folder.adapter, companions, { force: true });
    writeExport(run.model, folder.trained, companions, { dtype }); // last: it says that the run is complete
  } catch (cause) {
    if (unsaved) throw unsaved;
    throw new FileError(
      folder.trained,
      `cannot be written (${(cause as Error).message}); ` +
        `${state.step === 1 ? 'the step is' : `all ${state.step} steps are`} saved, ` +
        'and the same command writes the model once that is mended',
      { cause },
    );
  }
  folder.finish(state.step);
  console.log(`${took}; the model${best === undefined ? '' : ` of step ${best}, the best,`} is in ${folder.trained}`);
  if (hasAdapter) console.log(`the adapter alone, as PEFT reads it, is in ${folder.adapter}`);
  return best ?? state.step;
}

function fingerprintOf<Model extends Trainable>({ config, contents }: Run<Model>, { files }: Companions): Fingerprint {
  const tokenizer = Object.fromEntries(
    [...files].filter(([name]) => name !== 'generation_config.json').map(([name, content]) => [name, sha256(content)]),
  );
  const given = Object.entries({ ...identifying(config), compute: computePolicy });
  const hashed = Object.entries({ ...contents, tokenizer }).filter(([, value]) => value !== undefined);
  return Object.fromEntries([
    ...given.map(([name, value]) => [name, String(value)]),
    ...hashed.map(([name, value]) => [name, sha256(JSON.stringify(value))]),
  ]) as Fingerprint;
}

const sha256 = (content: Uint8Array | string): string => createHash('sha256').update(content).digest('hex');

/** Number of bytes that the run will need in addition to those already written. */
function roomFor(
  { weights }: Trainable,
  {
    holdsModelBeside,
    dtype,
    looksForBest,
    checkpoints: count,
  }: { holdsModelBeside: boolean; dtype: FloatDType; looksForBest: boolean; checkpoints: number },
): number {
  const trained = bytesOf(weights.trained);
  const checkpoint = 3 * trained + (holdsModelBeside ? bytesOf(weights) : 0);
  return (
    checkpoint * Math.max(0, count) + (looksForBest ? trained : 0) + (bytesOf(weights) * (dtype === 'F32' ? 4 : 2)) / 4
  );
}

const bytesOf = (variables: Variables): number =>
  4 *
  variables.names.reduce(
    (sum, name) => sum + variables.shape(name).reduce((product, length) => product * length, 1),
    0,
  );
