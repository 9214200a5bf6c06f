/** Sound and damaged safetensors files with Python's verdict on each; tests/oracles/safetensors_cases.py makes them. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';

import { FileError, SafetensorsFile } from 'alignbook';

export interface SafetensorsCase {
  /** base64 */
  readonly file: string;
  /** What was changed: nothing (`sound`), the header (`fields`, `text`, `bytes`) or the rest (`file`). */
  readonly kind: 'sound' | 'fields' | 'text' | 'bytes' | 'file';
  /** The class of Python's error, or null. */
  readonly error: string | null;
  /** Why a file that Python reads is refused here, or null. */
  readonly stricter: string | null;
  /** If the file is read here: [name, dtype, shape, hex of the bytes] by name. */
  readonly tensors: [string, string, number[], string][] | null;
}

/** The message for a file that Python reads and this library does not. */
const REASONS: Readonly<Record<string, RegExp>> = {
  'first byte': /header is not a JSON object beginning at its first byte$/,
  'a key twice': /header is not JSON: the key ".*" comes twice at character \d+$/s, // a name may hold U+2028
  'another notation': /is not described by an object$|has an unknown dtype \{/,
  'a dimension above 2^53 - 1': /has a bad shape \[/,
};

/** Writes the case to `path`, reads it, and compares the outcome with Python's verdict. */
export function check(item: SafetensorsCase, path: string): void {
  writeFileSync(path, Buffer.from(item.file, 'base64'));
  const wanted = item.tensors !== null;
  const what =
    `${item.kind}, Python: ${item.error ?? 'reads it'}, ${item.stricter ?? ''} ` +
    `${Buffer.from(item.file, 'base64').toString('latin1')}`;
  let read;
  try {
    read = tensors(path);
  } catch (error) {
    // anything else is a crash
    assert.ok(error instanceof FileError && error.path === path, `${what}\n${String(error)}`);
    assert.ok(!wanted, `${what}\nrefused: ${error.message}`);
    assert.doesNotMatch(error.message, /\n/);
    if (item.stricter !== null) assert.match(error.message, REASONS[item.stricter]!);
    return;
  }
  assert.deepEqual(read, item.tensors, what);
}

function tensors(path: string): SafetensorsCase['tensors'] {
  using file = new SafetensorsFile(path);
  const rows = [...file.tensors].map(
    ([name, { dtype, shape }]) =>
      [name, dtype, [...shape], Buffer.from(file.bytes(name)).toString('hex')] as [string, string, number[], string],
  );
  return rows.sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b))); // by code point, as Python sorts
}
