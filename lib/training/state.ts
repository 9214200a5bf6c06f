/** The state of a training, from which it can continue: in memory, or as a checkpoint folder. */
import { copyFileSync, existsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Variables } from '../engine/variables';
import { FileError, plural } from '../errors';
import { configJson } from '../formats/config';
import { fileDigest } from '../formats/fileBytes';
import { readJsonObject, type JsonObject } from '../formats/jsonFile';
import { replaceFolder } from '../formats/replace';
import { SafetensorsFile } from '../formats/safetensors';
import { writeSafetensors, type NamedTensor } from '../formats/safetensorsWriter';
import type { GPT2 } from '../model/gpt2';
import type { Trainable } from '../model/weights';
import { AdamW, type AdamWOptions } from './optimizer';
import { RENAMED } from './options';

const MODEL = 'model.safetensors';
const OPTIMIZER = 'optimizer.safetensors';
const BESIDE = 'beside.safetensors';
const STATE = 'training.json';
const WEIGHTS = 'weights.json'; // beside weights that are saved without a training's state

/** What a run depends on: one text, or one per input, so that a message can name the inputs that differ. */
export type Fingerprint = string | Readonly<Record<string, string>>;

/**
 * The state that a training loop advances, so that it can be saved between two steps. The order of the rows and the
 * random numbers of a sampling trainer are functions of the step alone (`batchOrder`, `randomOf`). The trained weights
 * (of a model with adapters, only the adapters), the moments, the step and the carried numbers are therefore the whole
 * state: on the CPU, a resumed run gives the same bits as one that never stopped.
 */
export class TrainingState<Model extends Trainable = GPT2> {
  #beside: GPT2 | undefined;
  /** The checkpoint that this state was resumed from, if it has the weights of `beside`. */
  #besideFrom: string | undefined;

  private constructor(
    readonly model: Model,
    readonly optimizer: AdamW,
    /** Steps taken so far. */
    public step: number,
    /** Other numbers that a trainer carries from step to step, such as PPO's adaptive KL coefficient. */
    readonly carried: Record<string, number>,
  ) {}

  static begin<Model extends Trainable>(model: Model, options: AdamWOptions = {}): TrainingState<Model> {
    return new TrainingState(model, new AdamW(model.weights.trained, options), 0, {});
  }

  /**
   * Loads a checkpoint into `model` to continue from there. A checkpoint of adapters contains neither the base model
   * nor alpha.
   *
   * @param fingerprint must equal the one it was saved with, for example that of the data and the options.
   * @throws DamagedError if the folder is incomplete or its bytes have changed; FileError if it is not a checkpoint of
   *   this model, or belongs to another run.
   */
  static resume<Model extends Trainable>(
    folder: string,
    model: Model,
    options: AdamWOptions = {},
    fingerprint: Fingerprint = '',
  ): TrainingState<Model> {
    requireWhole(folder);
    const state = readJsonObject(join(folder, STATE));
    const { step, updates, carried } = state;
    if (!Number.isInteger(step) || !Number.isInteger(updates))
      throw new FileError(
        join(folder, STATE),
        'has no "step" and "updates", so it is not a checkpoint of this library; give another output folder',
      );
    const differs = difference(state.fingerprint, fingerprint);
    if (differs !== undefined) {
      throw new FileError(
        join(folder, STATE),
        `belongs to a run with other data or options${differs}; ` +
          'give another output folder, or remove its checkpoints to start over',
      );
    }
    using weights = new SafetensorsFile(join(folder, MODEL));
    using moments = new SafetensorsFile(join(folder, OPTIMIZER));
    const optimizer = new AdamW(model.weights.trained, options);
    try {
      const { trained } = model.weights;
      requireTensors(weights, trained, trained.names);
      requireTensors(moments, trained, optimizer.names, ['m.', 'v.']);
      for (const name of trained.names) trained.assign(name, weights.float32(name));
      optimizer.restore(updates as number, (kind, name) => moments.float32(`${kind}.${name}`));
      const resumed = new TrainingState(model, optimizer, step as number, { ...(carried as Record<string, number>) });
      resumed.#besideFrom = existsSync(join(folder, BESIDE)) ? join(folder, BESIDE) : undefined;
      return resumed;
    } catch (error) {
      optimizer.dispose();
      throw error;
    }
  }

  /**
   * A model that the trainer changes beside the trained one, such as a reference that follows the policy. The state
   * owns it, and checkpoints have its weights.
   *
   * @param make makes the model at the first call; its weights are then those of the checkpoint, if this state was
   *   resumed from one that has them.
   * @throws FileError if the checkpoint's weights are not those of such a model.
   */
  beside(make: () => GPT2): GPT2 {
    if (this.#beside === undefined) {
      const made = make();
      if (this.#besideFrom !== undefined) assignAll(this.#besideFrom, made.weights);
      this.#besideFrom = undefined;
      this.#beside = made;
    }
    return this.#beside;
  }

  /** Writes a checkpoint, completely or not at all. */
  save(folder: string, fingerprint: Fingerprint = ''): void {
    const { model, optimizer, step, carried } = this;
    replaceFolder(folder, { force: true }, (out) => {
      writeModel(out, model);
      const moments = (kind: 'm' | 'v') =>
        optimizer.names.map((name) =>
          lazily(`${kind}.${name}`, model.weights.trained.shape(name), () => optimizer.moment(kind, name)),
        );
      writeSafetensors(join(out, OPTIMIZER), [...moments('m'), ...moments('v')]);
      if (this.#beside) writeVariables(join(out, BESIDE), this.#beside.weights);
      else if (this.#besideFrom !== undefined) copyFileSync(this.#besideFrom, join(out, BESIDE));
      writeJson(join(out, STATE), {
        step,
        updates: optimizer.steps,
        carried,
        fingerprint,
        files: contentsOf(out, [MODEL, OPTIMIZER, ...(this.#beside || this.#besideFrom !== undefined ? [BESIDE] : [])]),
      });
    });
  }

  dispose(): void {
    this.optimizer.dispose();
    this.#beside?.dispose();
  }
}

/** Writes a model's trained weights alone, completely or not at all, for example those of a run's best step. */
export function saveWeights(folder: string, model: Trainable): void {
  replaceFolder(folder, { force: true }, (out) => {
    writeModel(out, model);
    writeJson(join(out, WEIGHTS), { files: contentsOf(out, [MODEL]) });
  });
}

/** @throws FileError if the folder lacks a trained weight of this model in its shape, or is damaged. */
export function loadWeights(folder: string, model: Trainable): void {
  requireWhole(folder);
  assignAll(join(folder, MODEL), model.weights.trained);
}

/** @throws FileError if the file lacks a variable in its shape. */
function assignAll(path: string, variables: Variables): void {
  using weights = new SafetensorsFile(path);
  requireTensors(weights, variables, variables.names);
  for (const name of variables.names) variables.assign(name, weights.float32(name));
}

/** The inputs that differ, in parentheses; undefined if none does. */
function difference(saved: unknown, now: Fingerprint): string | undefined {
  if (typeof now === 'string' || typeof saved !== 'object' || saved === null) return saved === now ? undefined : '';
  const [before, after] = [saved as Record<string, string>, now];
  const changed = [...new Set([...Object.keys(before), ...Object.keys(after)])].filter(
    (name) => before[name] !== after[name],
  );
  const shown = (value: string | undefined) =>
    value === undefined ? 'not given' : /^[0-9a-f]{64}$/.test(value) ? 'other contents' : value;
  const texts = changed.map((name) => {
    if (Object.hasOwn(RENAMED, name)) return `it was begun with ${name}, which is now ${RENAMED[name]}`;
    return shown(before[name]) === shown(after[name])
      ? `${name} has other contents`
      : `${name} was ${shown(before[name])}, is ${shown(after[name])}`;
  });
  return changed.length === 0 ? undefined : ` (${texts.join('; ')})`;
}

type Contents = Readonly<Record<string, { readonly bytes: number; readonly sha256: string }>>;

function contentsOf(folder: string, names: readonly string[]): Contents {
  return Object.fromEntries(
    names.map((name) => [name, { bytes: statSync(join(folder, name)).size, sha256: fileDigest(join(folder, name)) }]),
  );
}

/** A checkpoint, or weights saved alone, with a missing, truncated or changed file. An older one may be intact. */
export class DamagedError extends FileError {
  override readonly name: string = 'DamagedError';
}

/**
 * Checks that a folder (a checkpoint, or weights saved alone) contains the bytes that were written.
 *
 * @throws DamagedError naming the file.
 */
export function requireWhole(folder: string): void {
  const record = [STATE, WEIGHTS].map((name) => join(folder, name)).find((path) => existsSync(path));
  if (record === undefined)
    throw new DamagedError(folder, existsSync(folder) ? `is damaged: it has no ${STATE}` : 'is missing');
  const { files } = readRecord(record);
  if (typeof files !== 'object' || files === null)
    throw new FileError(
      record,
      'has no checksums of its files, so an older version of this library wrote it; give another output folder',
    );
  for (const [name, { bytes, sha256 }] of Object.entries(files as Contents)) {
    const path = join(folder, name);
    const size = statSync(path, { throwIfNoEntry: false })?.size;
    if (size === undefined) throw new DamagedError(path, 'is missing');
    if (size !== bytes) throw new DamagedError(path, `is damaged: ${plural(size, 'byte')}, ${bytes} were written`);
    if (fileDigest(path) !== sha256)
      throw new DamagedError(path, 'is damaged: its bytes are not those that were written');
  }
}

function readRecord(path: string): JsonObject {
  try {
    return readJsonObject(path);
  } catch (cause) {
    throw cause instanceof FileError ? new DamagedError(path, cause.message.slice(path.length + 2), { cause }) : cause;
  }
}

function writeJson(path: string, value: unknown): void {
  writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);
}

function writeModel(folder: string, { config, weights: { trained } }: Trainable): void {
  writeFileSync(join(folder, 'config.json'), configJson(config));
  writeVariables(join(folder, MODEL), trained);
}

function writeVariables(path: string, variables: Variables): void {
  writeSafetensors(
    path,
    variables.names.map((name) => lazily(name, variables.shape(name), () => variables.values(name))),
  );
}

function requireTensors(file: SafetensorsFile, trained: Variables, names: readonly string[], prefixes = ['']): void {
  for (const name of names) {
    const shape = trained.shape(name);
    const missing = prefixes.find((prefix) => file.tensors.get(prefix + name)?.shape.join() !== shape.join());
    if (missing !== undefined)
      throw new FileError(
        file.path,
        `has no "${missing}${name}" of shape [${shape.join(', ')}], which this model needs`,
      );
  }
}

/** A tensor whose values are copied from TensorFlow only when it is written, one tensor at a time. */
function lazily(name: string, shape: readonly number[], read: () => Float32Array): NamedTensor {
  return {
    name,
    shape,
    get values() {
      return read();
    },
  };
}
