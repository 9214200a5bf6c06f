/**
 * Reads the safetensors format (https://github.com/huggingface/safetensors#format): 8 bytes of header length, a JSON
 * header, then the tensors' bytes one after another. Accepts what Python's safetensors accepts, except for five things
 * that no writer produces: a header that does not begin with `{` or has a duplicate key (both against the format's own
 * description), a header of more than four million values, an empty tensor with a dimension above 2^53 - 1, and serde's
 * other notations of an entry (a list of its three fields, or `{"F32": null}` for a dtype).
 */
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';

import { clipped, FileError, plural, quoted } from '../errors';
import { foreignFile } from './fileBytes';
import { bfloat16ToFloat32, float16ToFloat32 } from './halfFloats';
import { parseStrictJson, type Json } from './strictJson';

const MAX_HEADER = 100_000_000; // bytes, the format's own limit
const MAX_READ = 2 ** 30; // bytes; one call takes less than 2^31
const BITS = {
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  BOOL: 8,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;

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
    this.#file = open(path);
    try {
      const { header, dataStart, dataLength } = this.#readHeader();
      this.#dataStart = dataStart;
      this.metadata = this.#checkMetadata(header.get('__metadata__') ?? new Map());
      header.delete('__metadata__');
      this.tensors = this.#checkEntries(header, dataLength);
    } catch (error) {
      closeSync(this.#file);
      throw error;
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#file);
  }

  /**
   * A tensor's bytes as they are stored, little-endian.
   *
   * @throws FileError if there is no such tensor.
   */
  bytes(name: string): Uint8Array {
    const { begin, end } = this.#entry(name);
    return this.#bytes(begin, end);
  }

  /**
   * A tensor's values as float32, whatever floating type they are stored in.
   *
   * @throws FileError if there is no such tensor or it is not F32, F16 or BF16.
   */
  float32(name: string): Float32Array {
    const { shape } = this.#entry(name);
    return this.readFloat32(name, 0, new Float32Array(shape.reduce((product, length) => product * length, 1)));
  }

  /**
   * Fills `target` with a tensor's values from element `from` on. F32 is read directly into it.
   *
   * @returns `target`.
   */
  readFloat32(name: string, from: number, target: Float32Array): Float32Array {
    const { dtype, begin } = this.#entry(name);
    const halves = () => new Uint16Array(this.#bytes(begin + 2 * from, begin + 2 * (from + target.length)).buffer);
    if (dtype === 'F32')
      this.#read(
        new Uint8Array(target.buffer, target.byteOffset, target.byteLength),
        this.#dataStart + begin + 4 * from,
      );
    else if (dtype === 'F16') target.set(float16ToFloat32(halves()));
    else if (dtype === 'BF16') target.set(bfloat16ToFloat32(halves()));
    else throw new FileError(this.path, `tensor ${quoted(name)} is ${dtype}, not F32, F16 or BF16`);
    return target;
  }

  #bytes(begin: number, end: number): Uint8Array {
    const bytes = new Uint8Array(end - begin);
    this.#read(bytes, this.#dataStart + begin);
    return bytes;
  }

  #entry(name: string): TensorEntry {
    const entry = this.tensors.get(name);
    if (entry === undefined) throw new FileError(this.path, `has no tensor ${quoted(name)}`);
    return entry;
  }

  #read(target: Uint8Array, position: number): void {
    for (let done = 0; done < target.length;) {
      const count = this.#readSome(target, done, position + done);
      if (count === 0) throw new FileError(this.path, 'became shorter while it was being read');
      done += count;
    }
  }

  #readSome(target: Uint8Array, done: number, position: number): number {
    try {
      return readSync(this.#file, target, done, Math.min(target.length - done, MAX_READ), position);
    } catch (cause) {
      throw new FileError(this.path, `cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause });
    }
  }

  #readHeader() {
    const { size } = fstatSync(this.#file);
    if (size < 8) this.#refuseForeign();
    if (size < 8)
      throw new FileError(this.path, `is not a safetensors file: ${plural(size, 'byte')}, too short for a header`);
    const prefix = Buffer.alloc(8);
    this.#read(prefix, 0);
    const stated = prefix.readBigUInt64LE();
    if (stated > size - 8) this.#refuseForeign(); // only then, because a valid length may begin with any bytes
    if (stated > MAX_HEADER)
      throw new FileError(this.path, `is not a safetensors file: a header of ${plural(stated, 'byte')}`);
    const length = Number(stated);
    if (8 + length > size)
      throw new FileError(this.path, `is cut short: a header of ${plural(length, 'byte')} in a file of ${size}`);
    const bytes = new Uint8Array(length);
    this.#read(bytes, 8);
    return { header: this.#parseHeader(bytes), dataStart: 8 + length, dataLength: size - 8 - length };
  }

  /** @throws FileError if the file is of a kind often found in place of others. */
  #refuseForeign(): void {
    const foreign = foreignFile(this.path);
    if (foreign !== undefined) throw new FileError(this.path, foreign);
  }

  #parseHeader(bytes: Uint8Array): Map<string, Json> {
    let header: Json;
    try {
      header = parseStrictJson(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
    } catch (cause) {
      const reason = cause instanceof SyntaxError ? cause.message : 'it is not UTF-8';
      throw new FileError(this.path, `its header is not JSON: ${reason}`, { cause });
    }
    if (!(header instanceof Map) || bytes[0] !== 0x7b /* { */)
      throw new FileError(this.path, 'its header is not a JSON object beginning at its first byte');
    return header;
  }

  #checkMetadata(metadata: Json): Record<string, string> {
    if (!(metadata instanceof Map) || [...metadata.values()].some((value) => typeof value !== 'string')) {
      throw new FileError(this.path, 'its __metadata__ is not a map of strings');
    }
    return Object.fromEntries(metadata) as Record<string, string>;
  }

  /** Each entry must be well formed, and together they must cover the data without gaps or overlaps. */
  #checkEntries(entries: Map<string, Json>, dataLength: number): Map<string, TensorEntry> {
    const tensors = [...entries].map(([name, entry]) => [name, this.#checkEntry(name, entry)] as const);
    const byPlace = [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
    let covered = 0;
    for (const [name, { begin, end }] of byPlace) {
      if (begin !== covered)
        throw new FileError(this.path, `tensor ${quoted(name)} begins at ${begin}, expected ${covered}`);
      covered = end;
    }
    if (covered !== dataLength) {
      throw new FileError(
        this.path,
        `its tensors take ${plural(covered, 'byte')}, but it holds ${dataLength}: it is cut short or damaged`,
      );
    }
    return new Map(tensors);
  }

  #checkEntry(name: string, entry: Json): TensorEntry {
    const fail = (reason: string): never => {
      throw new FileError(this.path, `tensor ${quoted(name)} ${reason}`);
    };
    if (!(entry instanceof Map)) return fail('is not described by an object');
    const dtype = entry.get('dtype');
    if (typeof dtype !== 'string' || !Object.hasOwn(BITS, dtype)) return fail(`has an unknown dtype ${shown(dtype)}`);
    const shape = counts(entry.get('shape'));
    if (shape === null) return fail(`has a bad shape ${shown(entry.get('shape'))}`);
    const [begin, end, ...more] = counts(entry.get('data_offsets')) ?? [];
    if (begin === undefined || end === undefined || more.length > 0)
      return fail(`has bad data_offsets ${shown(entry.get('data_offsets'))}`);
    const bits = bitsOf(shape, BITS[dtype as DType]);
    if (bits === null || bits !== 8n * BigInt(end - begin)) {
      const needs =
        bits === null
          ? '2^64 or more'
          : bits % 8n === 0n
            ? `${bits / 8n}`
            : `${plural(bits, 'bit')}, not a whole number of bytes`;
      return fail(`takes ${end - begin} bytes, but ${dtype} [${shape.join(', ')}] needs ${needs}`);
    }
    return { dtype: dtype as DType, shape, begin, end };
  }
}

function open(path: string): number {
  try {
    // opening a pipe would block until it has a writer
    if (!statSync(path).isFile()) throw new FileError(path, 'is not a file');
    return openSync(path, 'r');
  } catch (cause) {
    if (cause instanceof FileError) throw cause;
    throw new FileError(path, `cannot be opened (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
}

/** A list of integers from 0 to 2^53 - 1, or null. */
function counts(value: Json | undefined): number[] | null {
  if (!Array.isArray(value)) return null;
  const numbers: number[] = [];
  for (const item of value) {
    if (typeof item !== 'bigint' || item > Number.MAX_SAFE_INTEGER) return null;
    numbers.push(Number(item));
  }
  return numbers;
}

/**
 * The size in bits; null as soon as the product, taken from the left, exceeds 64 bits, even if a 0 follows: as
 * Python's.
 */
function bitsOf(shape: readonly number[], bits: number): bigint | null {
  let product = 1n;
  for (const length of [...shape, bits]) {
    product *= BigInt(length);
    if (product >= 2n ** 64n) return null;
  }
  return product;
}

/** Part of the header, for a message. */
function shown(value: Json | undefined): string {
  const plain = (_: string, part: unknown) =>
    typeof part === 'bigint' ? Number(part) : part instanceof Map ? Object.fromEntries(part) : part;
  return clipped(value === undefined ? 'undefined' : JSON.stringify(value, plain));
}
