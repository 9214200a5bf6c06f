/** The tensors of a model folder: from model.safetensors, or from the shards named in model.safetensors.index.json. */
import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';

import { FileError, quoted } from '../errors';
import { readJsonObject } from './jsonFile';
import { SafetensorsFile, type TensorEntry } from './safetensors';

const SINGLE = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';

export class Checkpoint implements Disposable {
  /** In the order of the files; an entry's offsets are within its own file. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly #files: readonly SafetensorsFile[];
  readonly #fileOf: ReadonlyMap<string, SafetensorsFile>;

  /** @param path the file or the index, for messages. */
  private constructor(
    readonly path: string,
    files: readonly SafetensorsFile[],
  ) {
    this.#files = files;
    this.tensors = new Map(files.flatMap((file) => [...file.tensors]));
    this.#fileOf = new Map(files.flatMap((file) => [...file.tensors.keys()].map((name) => [name, file] as const)));
  }

  /**
   * Opens a model folder; model.safetensors takes precedence over shards, as in transformers.
   *
   * @throws FileError if there are no safetensors, a file is malformed, or the shards do not match the index.
   */
  static open(folder: string): Checkpoint {
    const single = join(folder, SINGLE);
    const index = join(folder, INDEX);
    if (!existsSync(single) && existsSync(index)) return Checkpoint.#openShards(index);
    if (existsSync(single)) return new Checkpoint(single, [new SafetensorsFile(single)]);
    const pickled =
      existsSync(folder) && readdirSync(folder).find((name) => /^pytorch_model.*\.bin(\.index\.json)?$/.test(name));
    if (!pickled) throw new FileError(folder, `has no ${SINGLE}`);
    throw new FileError(
      folder,
      `has its weights only in ${pickled}, a pickle, which could run code and is not read; ` +
        'convert it with Python: transformers.GPT2LMHeadModel.from_pretrained(folder)' +
        '.save_pretrained(folder, safe_serialization=True)',
    );
  }

  static #openShards(index: string): Checkpoint {
    const shardOf = readIndex(index);
    const files: SafetensorsFile[] = [];
    try {
      for (const shard of new Set(shardOf.values())) {
        const path = join(index, '..', shard);
        if (!existsSync(path))
          throw new FileError(index, `names ${quoted(shard)}, which does not exist; download it too`);
        const file = new SafetensorsFile(path);
        files.push(file);
        for (const name of file.tensors.keys()) {
          const place = shardOf.get(name);
          if (place === shard) continue;
          const other = place === undefined ? 'does not name it' : `places it in ${quoted(place)}`;
          throw new FileError(
            path,
            `holds the tensor ${quoted(name)}, but ${INDEX} ${other}: the files do not belong to one checkpoint`,
          );
        }
      }
      for (const [name, shard] of shardOf) {
        const file = files.find(({ path }) => basename(path) === shard)!;
        if (!file.tensors.has(name))
          throw new FileError(file.path, `lacks the tensor ${quoted(name)}, which ${INDEX} places there`);
      }
    } catch (error) {
      for (const file of files) file[Symbol.dispose]();
      throw error;
    }
    return new Checkpoint(index, files);
  }

  [Symbol.dispose](): void {
    for (const file of this.#files) file[Symbol.dispose]();
  }

  /** As `SafetensorsFile.float32`. */
  float32(name: string): Float32Array {
    return this.#with(name).float32(name);
  }

  /** As `SafetensorsFile.readFloat32`. */
  readFloat32(name: string, from: number, target: Float32Array): Float32Array {
    return this.#with(name).readFloat32(name, from, target);
  }

  #with(name: string): SafetensorsFile {
    const file = this.#fileOf.get(name);
    if (file === undefined) throw new FileError(this.path, `has no tensor ${quoted(name)}`);
    return file;
  }
}

/** Tensor -> the name of its shard, a file beside the index. */
function readIndex(path: string): Map<string, string> {
  const map = readJsonObject(path).weight_map;
  if (typeof map !== 'object' || map === null || Array.isArray(map))
    throw new FileError(path, 'has no "weight_map" from tensors to files');
  const entries = Object.entries(map);
  if (entries.length === 0) throw new FileError(path, 'has an empty "weight_map"');
  for (const [name, shard] of entries) {
    if (typeof shard !== 'string' || !/^[^/\\]+\.safetensors$/.test(shard)) {
      throw new FileError(
        path,
        `places the tensor ${quoted(name)} in ${quoted(String(shard))}, ` +
          'which is not the name of a safetensors file beside it',
      );
    }
  }
  return new Map(entries);
}
