/**
 * The safetensors format (https://github.com/huggingface/safetensors): 8 bytes of header length, a JSON header, then the
 * tensors' bytes end to end. Reads F32, F16 and BF16 as float32; writes F32.
 */
import { closeSync, fstatSync, fsyncSync, openSync, readSync, renameSync, rmSync, writeSync } from 'node:fs';

import { FileError } from '../errors';

const MAX_HEADER = 100_000_000; // bytes, the format's own limit
const BITS = {
  BOOL: 8, U8: 8, I8: 8, F8_E5M2: 8, F8_E4M3: 8,
  I16: 16, U16: 16, F16: 16, BF16: 16,
  I32: 32, U32: 32, F32: 32,
  F64: 64, I64: 64, U64: 64,
} as const; // prettier-ignore

export type DType = keyof typeof BITS;

/** Where a tensor lies: `begin` and `end` are bytes from the start of the data. */
export interface TensorEntry {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** A safetensors file, open for reading. Its header is checked whole before any tensor is read. */
export class SafetensorsFile implements Disposable {
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly #file: number;
  readonly #dataStart: number;

  /** @throws FileError if the file cannot be read or is malformed. */
  constructor(readonly path: string) {
    try {
      this.#file = openSync(path, 'r');
    } catch (cause) {
      throw new FileError(path, `cannot be opened (${(cause as NodeJS.ErrnoException).code})`, { cause });
    }
    try {
      const { header, dataStart, dataLength } = this.#readHeader();
      this.#dataStart = dataStart;
      const { __metadata__: metadata = {}, ...entries } = header;
      if (!isObject(metadata) || Object.values(metadata).some((value) => typeof value !== 'string')) {
        throw new FileError(path, 'its __metadata__ is not a map of strings');
      }
      this.metadata = metadata as Record<string, string>;
      this.tensors = this.#checkEntries(entries, dataLength);
    } catch (error) {
      closeSync(this.#file);
      throw error;
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#file);
  }

  /**
   * A tensor's values as float32, whatever floating type they are stored in.
   *
   * @throws FileError if there is no such tensor or it is not F32, F16 or BF16.
   */
  float32(name: string): Float32Array {
    const { dtype, begin, end } = this.#entry(name);
    if (dtype === 'F32') {
      const values = new Float32Array((end - begin) / 4);
      this.#read(new Uint8Array(values.buffer), this.#dataStart + begin);
      return values;
    }
    if (dtype !== 'F16' && dtype !== 'BF16') throw new FileError(this.path, `tensor "${name}" is ${dtype}, not F32, F16 or BF16`);
    const halves = new Uint16Array((end - begin) / 2);
    this.#read(new Uint8Array(halves.buffer), this.#dataStart + begin);
    return dtype === 'F16' ? float16ToFloat32(halves) : bfloat16ToFloat32(halves);
  }

  #entry(name: string): TensorEntry {
    const entry = this.tensors.get(name);
    if (entry === undefined) throw new FileError(this.path, `has no tensor "${name}"`);
    return entry;
  }

  #read(target: Uint8Array, position: number): void {
    for (let done = 0; done < target.length; ) {
      const count = readSync(this.#file, target, done, target.length - done, position + done);
      if (count === 0) throw new FileError(this.path, 'became shorter while it was read');
      done += count;
    }
  }

  #readHeader() {
    const { size } = fstatSync(this.#file);
    if (size < 8) throw new FileError(this.path, `is not a safetensors file: ${size} bytes, too short for a header`);
    const prefix = Buffer.alloc(8);
    this.#read(prefix, 0);
    const stated = prefix.readBigUInt64LE();
    if (stated > MAX_HEADER) throw new FileError(this.path, `is not a safetensors file: a header of ${stated} bytes`);
    const length = Number(stated);
    if (8 + length > size) throw new FileError(this.path, `is cut short: a header of ${length} bytes in a file of ${size}`);
    const bytes = Buffer.alloc(length);
    this.#read(bytes, 8);
    let header: unknown;
    try {
      header = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
    } catch (cause) {
      throw new FileError(this.path, 'its header is not JSON', { cause });
    }
    if (!isObject(header) || bytes[0] !== 0x7b /* { */) throw new FileError(this.path, 'its header is not a JSON object');
    return { header, dataStart: 8 + length, dataLength: size - 8 - length };
  }

  /** Every entry well formed, and together they cover the data without a hole or an overlap. */
  #checkEntries(entries: Record<string, unknown>, dataLength: number): Map<string, TensorEntry> {
    const tensors = Object.entries(entries).map(([name, entry]) => [name, this.#checkEntry(name, entry)] as const);
    const byPlace = [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
    let covered = 0;
    for (const [name, { begin, end }] of byPlace) {
      if (begin !== covered) throw new FileError(this.path, `tensor "${name}" begins at ${begin}, expected ${covered}`);
      covered = end;
    }
    if (covered !== dataLength) {
      throw new FileError(this.path, `its tensors take ${covered} bytes, but it holds ${dataLength}: cut short or damaged`);
    }
    return new Map(tensors);
  }

  #checkEntry(name: string, entry: unknown): TensorEntry {
    const fail = (reason: string): never => {
      throw new FileError(this.path, `tensor "${name}" ${reason}`);
    };
    if (!isObject(entry)) return fail('is not described by an object');
    const { dtype, shape, data_offsets: offsets } = entry;
    if (typeof dtype !== 'string' || !Object.hasOwn(BITS, dtype)) return fail(`has an unknown dtype ${JSON.stringify(dtype)}`);
    if (!isCounts(shape)) return fail(`has a bad shape ${JSON.stringify(shape)}`);
    if (!isCounts(offsets) || offsets.length !== 2) return fail(`has bad data_offsets ${JSON.stringify(offsets)}`);
    const [begin, end] = offsets as [number, number];
    const extent = shape.reduce((product, length) => product * length, BITS[dtype as DType] / 8);
    if (!Number.isSafeInteger(extent) || extent !== end - begin) {
      return fail(`takes ${end - begin} bytes, but ${dtype} [${shape.join(', ')}] needs ${extent}`);
    }
    return { dtype: dtype as DType, shape, begin, end };
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0 && !Object.is(item, -0));
}

/** bfloat16 is the upper half of float32. */
function bfloat16ToFloat32(halves: Uint16Array): Float32Array {
  const words = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i += 1) words[i] = halves[i]! << 16;
  return new Float32Array(words.buffer);
}

/** IEEE 754 binary16: 1 sign bit, 5 of exponent (bias 15), 10 of fraction. */
function float16ToFloat32(halves: Uint16Array): Float32Array {
  const values = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i += 1) {
    const bits = halves[i]!;
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >>> 10) & 0x1f;
    const fraction = bits & 0x3ff;
    if (exponent === 0) values[i] = sign * fraction * 2 ** -24;
    else if (exponent === 0x1f) values[i] = fraction === 0 ? sign * Infinity : NaN;
    else values[i] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return values;
}

export interface NamedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/**
 * Writes float32 tensors in the order given: under a temporary name first, so that a file of this name is always whole.
 * The header carries `{"format":"pt"}`, which transformers asks for.
 */
export function writeSafetensors(path: string, tensors: readonly NamedTensor[]): void {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  let end = 0;
  for (const { name, shape, values } of tensors) {
    header[name] = { dtype: 'F32', shape, data_offsets: [end, (end += values.byteLength)] };
  }
  const json = Buffer.from(JSON.stringify(header));
  const padded = Buffer.alloc(Math.ceil(json.length / 8) * 8, ' '); // tensors begin at a multiple of 8 bytes
  json.copy(padded);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(padded.length));

  const temporary = `${path}.${process.pid}.tmp`;
  const file = openSync(temporary, 'w');
  try {
    const bytes = tensors.map(({ values }) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    for (const part of [prefix, padded, ...bytes]) {
      for (let done = 0; done < part.length; ) done += writeSync(file, part, done);
    }
    fsyncSync(file);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
}
