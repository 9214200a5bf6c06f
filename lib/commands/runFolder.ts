/**
 * Manages a run's folder: its lock, metrics, checkpoints and best weights, and whatever a killed process left behind.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { basename, join, resolve } from 'node:path';

import { FileError, InputError } from '../errors';
import { recoverFolders, replaceFile } from '../formats/replace';
import type { Trainable } from '../model/weights';
import { type Best } from '../training/best';
import { checkpointFolder, checkpoints, pruneCheckpoints } from '../training/checkpointFolders';
import type { AdamWOptions } from '../training/optimizer';
import {
  DamagedError,
  loadWeights,
  requireWhole,
  saveWeights,
  TrainingState,
  type Fingerprint,
} from '../training/state';
import { SETTINGS_FILE } from './readRun';
import { lockRun } from './runLock';

interface Step {
  readonly step: number;
  readonly validation?: object;
  /** A validation that is not complete: the answers could not be measured. */
  readonly unmeasured?: object;
}

export interface RunFolderOptions {
  /** Number of checkpoints to keep. */
  readonly keep: number;
  /** Starts the search for the best step; undefined for a run that keeps no best weights. */
  readonly best: (() => Best) | undefined;
}

const BEST = /^best-(\d{8})$/;

export class RunFolder implements Disposable {
  readonly path: string;
  /** The path of the trained model. */
  readonly trained: string;
  /** The path of its adapters alone, for a run that trains some. */
  readonly adapter: string;
  readonly #keep: number;
  readonly #lock: Disposable;
  readonly #makeBest: (() => Best) | undefined;
  /** The best of the steps so far; undefined for a run that keeps no best weights. */
  #best: Best | undefined;
  /** For each step, the best step up to then; a checkpoint that is kept needs that step's weights. */
  readonly #bestAt: (number | undefined)[] = [];
  #metrics: number | undefined;
  /** The newest line in metrics.jsonl that a resumed run keeps, and the byte at which it begins. */
  #last: { readonly step: Step; readonly start: number } | undefined;

  /**
   * Claims the folder for this process, and completes or undoes whatever a killed process left unfinished.
   *
   * @throws InputError if the run is complete or another process is training in the folder.
   */
  constructor(path: string, { keep, best }: RunFolderOptions) {
    this.path = resolve(path);
    this.trained = join(this.path, 'model');
    this.adapter = join(this.path, 'adapter');
    this.#keep = keep;
    this.#makeBest = best;
    mkdirSync(this.path, { recursive: true });
    this.#lock = lockRun(join(this.path, '.lock'));
    try {
      recoverFolders(this.path, { evenIfAlive: true });
      if (existsSync(this.trained))
        throw new InputError(
          `${this.trained} exists already: this run is complete; give another output folder, or remove it`,
        );
      pruneCheckpoints(this.path, Infinity); // remove what interrupted saves left
    } catch (error) {
      this.#lock[Symbol.dispose]();
      throw error;
    }
  }

  /** The step from which the run goes on, if its validation is not complete. */
  get unmeasured(): (Step & { readonly unmeasured: object }) | undefined {
    const step = this.#last?.step;
    return step?.unmeasured && { ...step, unmeasured: step.unmeasured };
  }

  /** Puts the whole line in place of the one that `unmeasured` gave; until it is written, the old one stays. */
  complete(step: Step, model: Trainable): void {
    this.#keepBest(step, model);
    const path = join(this.path, 'metrics.jsonl');
    const before = readFileSync(path).subarray(0, this.#last!.start);
    replaceFile(path, (write) => [before, lineOf(step)].forEach(write));
    const replaced = this.#metrics!;
    this.#metrics = openSync(path, 'a');
    closeSync(replaced);
  }

  get best(): Best | undefined {
    return this.#best;
  }

  /**
   * Starts a run, or continues it from the newest complete checkpoint.
   *
   * @param tell receives a sentence about each newer checkpoint that is skipped, with the reason.
   * @throws FileError if no checkpoint is complete, or the checkpoints belong to another run.
   */
  begin<Model extends Trainable>(
    model: Model,
    options: AdamWOptions,
    fingerprint: Fingerprint,
    tell: (text: string) => void,
  ): TrainingState<Model> {
    const lines = this.#readMetrics();
    const found = checkpoints(this.path);
    for (const folder of found) {
      try {
        const step = Number(basename(folder).slice('checkpoint-'.length));
        this.#requireHistory(step, lines);
        const state = TrainingState.resume(folder, model, options, fingerprint);
        this.#openMetrics(lines.slice(0, step));
        return state;
      } catch (error) {
        if (!(error instanceof DamagedError)) throw error;
        tell(`${basename(folder)} is passed over: ${error.message}`);
      }
    }
    if (found.length > 0)
      throw new FileError(
        this.path,
        `has no checkpoint to go on from (${found.map((folder) => basename(folder)).join(', ')}); ` +
          'remove them to begin again, or give another output folder',
      );
    this.#best = this.#makeBest?.();
    this.#openMetrics([]);
    return TrainingState.begin(model, options);
  }

  /** Writes the settings that were given, for whoever reads the metrics later. */
  keepSettings(settings: object): void {
    const path = join(this.path, SETTINGS_FILE);
    const text = `${JSON.stringify({ settings }, null, 2)}\n`;
    if (existsSync(path) && readFileSync(path, 'utf8') === text) return; // a run that continues needs no room for it
    replaceFile(path, (write) => write(text));
  }

  /** Reads the steps up to a checkpoint, and checks that their lines and the best weights among them exist. */
  #requireHistory(steps: number, lines: readonly (Step | undefined)[]): void {
    const best = this.#makeBest?.();
    this.#best = best;
    this.#bestAt.length = 0;
    if (best === undefined) return;
    const metrics = join(this.path, 'metrics.jsonl');
    for (let n = 0; n < steps; n += 1) {
      const line = lines[n];
      if (line?.step !== n + 1)
        throw new DamagedError(metrics, `has no whole line for step ${n + 1}, which the choice of the best step needs`);
      this.#see(line);
    }
    if (best.step !== undefined) requireWhole(this.#bestFolder(best.step));
  }

  #see(step: Step): boolean {
    const better = this.#best?.see(step) ?? false;
    this.#bestAt[step.step] = this.#best?.step;
    return better;
  }

  #bestFolder(step: number): string {
    return join(this.path, `best-${`${step}`.padStart(8, '0')}`);
  }

  /** The lines of metrics.jsonl; undefined for a line that is not JSON, such as one that was cut off. */
  #readMetrics(): (Step | undefined)[] {
    const path = join(this.path, 'metrics.jsonl');
    if (!existsSync(path)) return [];
    return readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => {
        try {
          return JSON.parse(line) as Step;
        } catch {
          return undefined;
        }
      });
  }

  /** Keeps the lines up to a checkpoint. Steps after it will run again, including one whose line was cut off. */
  #openMetrics(kept: readonly (Step | undefined)[]): void {
    const path = join(this.path, 'metrics.jsonl');
    const bytes = existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
    let [start, end] = [0, 0];
    for (let line = 0; line < kept.length; line += 1)
      [start, end] = [end, bytes.indexOf('\n', end) + 1 || bytes.length];
    const step = kept.at(-1);
    this.#last = step && { step, start };
    this.#metrics = openSync(path, 'a');
    truncateSync(path, end);
  }

  /** Writes a step's line, and its weights if they are the best so far. */
  add(step: Step, model: Trainable): void {
    this.#keepBest(step, model);
    writeSync(this.#metrics!, lineOf(step));
  }

  #keepBest(step: Step, model: Trainable): void {
    if (this.#see(step)) saveWeights(this.#bestFolder(step.step), model);
  }

  /**
   * Saves a checkpoint.
   *
   * @throws FileError saying from which step the same command will continue.
   */
  save<Model extends Trainable>(state: TrainingState<Model>, fingerprint: Fingerprint, { prune = true } = {}): void {
    const folder = checkpointFolder(this.path, state.step);
    try {
      fsyncSync(this.#metrics!); // the lines must reach the disk before the checkpoint that follows them
      state.save(folder, fingerprint);
    } catch (cause) {
      const [last] = checkpoints(this.path);
      const rest = last === undefined ? 'from the beginning' : `from ${basename(last)}`;
      if (cause instanceof InputError)
        throw new FileError(folder, `cannot be saved: ${cause.message} (the same command goes on ${rest})`, { cause });
      throw new FileError(
        folder,
        `cannot be saved (${(cause as Error).message}); free some space, and the same command goes on ${rest}`,
        { cause },
      );
    }
    if (prune) this.#prune();
  }

  #prune(): void {
    pruneCheckpoints(this.path, this.#keep);
    const steps = checkpoints(this.path).map((folder) => Number(basename(folder).slice('checkpoint-'.length)));
    const needed = new Set([this.#best?.step, ...steps.map((step) => this.#bestAt[step])]);
    for (const name of readdirSync(this.path)) {
      const step = BEST.exec(name)?.[1];
      if (step !== undefined && !needed.has(Number(step))) rmSync(join(this.path, name), { recursive: true });
    }
  }

  /** Loads the best step's weights into `model`. @returns that step; undefined if the run keeps no best weights. */
  loadBest(model: Trainable): number | undefined {
    const step = this.#best?.step;
    if (step !== undefined) loadWeights(this.#bestFolder(step), model);
    return step;
  }

  /** Saves the last step in addition to the checkpoints that are kept, so that a failed export loses nothing. */
  saveLast<Model extends Trainable>(state: TrainingState<Model>, fingerprint: Fingerprint): void {
    if (!existsSync(checkpointFolder(this.path, state.step))) this.save(state, fingerprint, { prune: false });
  }

  /** Removes what only an unfinished run needs: the best weights, and the last checkpoint, now the model. */
  finish(step: number): void {
    rmSync(checkpointFolder(this.path, step), { recursive: true, force: true });
    pruneCheckpoints(this.path, this.#keep);
    for (const name of readdirSync(this.path)) if (BEST.test(name)) rmSync(join(this.path, name), { recursive: true });
  }

  /** @throws InputError if the disk has less free space than the run will need at any one time. */
  requireRoom(bytes: number): void {
    const { bavail, bsize } = statfsSync(this.path);
    const missing = bytes - bavail * bsize;
    if (missing > 0)
      throw new InputError(
        `${this.path} has too little room: the run needs ${megabytes(bytes)}, ${megabytes(missing)} more than there ` +
          'is; free some space, or give an output folder on another disk',
      );
  }

  [Symbol.dispose](): void {
    if (this.#metrics !== undefined) closeSync(this.#metrics);
    this.#metrics = undefined;
    this.#lock[Symbol.dispose]();
  }
}

const lineOf = (step: Step): string => `${JSON.stringify(step)}\n`;
const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`;
