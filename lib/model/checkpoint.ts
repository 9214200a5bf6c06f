/** A model folder's tensors: in one model.safetensors, or in several files that an index lists. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { FileError } from '../errors';
import { INDEX, shards } from '../hub/cache';
import { SafetensorsFile, type TensorEntry } from './safetensors';

/** The path for `openCheckpoint`: model.safetensors, or model.safetensors.index.json where there is that only. */
export function checkpointPath(folder: string): string {
  const [whole, index] = [join(folder, 'model.safetensors'), join(folder, INDEX)];
  return existsSync(index) && !existsSync(whole) ? index : whole;
}

/** @throws FileError if the file, the index or a file that it lists is missing or malformed. */
export function openCheckpoint(path: string): SafetensorsFile | ShardedCheckpoint {
  return path.endsWith('.index.json') ? new ShardedCheckpoint(path) : new SafetensorsFile(path);
}

/** The files of an index, read as one. */
class ShardedCheckpoint implements Disposable {
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly #files: SafetensorsFile[] = [];
  readonly #fileOf = new Map<string, SafetensorsFile>();

  constructor(readonly path: string) {
    const names = shards(path);
    if (names.length === 0) throw new FileError(path, 'its "weight_map" names no safetensors files beside it');
    try {
      for (const name of names) {
        const file = new SafetensorsFile(join(dirname(path), name));
        this.#files.push(file);
        for (const tensor of file.tensors.keys()) {
          if (this.#fileOf.has(tensor)) throw new FileError(file.path, `has the tensor "${tensor}", and so has ${this.#fileOf.get(tensor)!.path}`);
          this.#fileOf.set(tensor, file);
        }
      }
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
    this.tensors = new Map(this.#files.flatMap((file) => [...file.tensors]));
  }

  [Symbol.dispose](): void {
    for (const file of this.#files) file[Symbol.dispose]();
  }

  /** As `SafetensorsFile.float32`. */
  float32(name: string): Float32Array {
    const file = this.#fileOf.get(name);
    if (file === undefined) throw new FileError(this.path, `has no tensor "${name}"`);
    return file.float32(name);
  }
}
