/** Writes the safetensors format, as F32, F16 or BF16. */
import { InputError, plural, quoted } from '../errors';
import { float32ToBfloat16, float32ToFloat16 } from './halfFloats';
import { replaceFile } from './replace';

export interface NamedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** Row-major. Read once, when the tensor is written: with a getter, not all values need be in memory at once. */
  readonly values: Float32Array;
}

/** The types in which weights are written; rounding is to the nearest, ties to even. */
export type FloatDType = 'F32' | 'F16' | 'BF16';
export const FLOAT_DTYPES: readonly FloatDType[] = ['F32', 'F16', 'BF16'];

/**
 * Writes tensors in the given order, with `replaceFile`. The header carries `{"format":"pt"}`, which transformers
 * requires.
 *
 * @param options.finite refuse infinities and NaN, before and after rounding. Default true.
 * @throws InputError if two tensors have the same name, or a tensor's values do not fit its shape or are not finite;
 *   the file is then not written.
 */
export function writeSafetensors(
  path: string,
  tensors: readonly NamedTensor[],
  { dtype = 'F32', finite = true }: { dtype?: FloatDType; finite?: boolean } = {},
): void {
  replaceFile(path, (write) => {
    write(headerOf(tensors, dtype));
    for (const { name, shape, values } of tensors) {
      if (values.length !== sizeOf(shape))
        throw new InputError(
          `tensor ${quoted(name)} has ${plural(values.length, 'value')}, but its shape is [${shape.join(', ')}]`,
        );
      const numbers = stored(values, dtype);
      if (finite) requireFinite(name, values, numbers, dtype);
      write(new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength));
    }
  });
}

/** The header with its length before it, padded so that the data begin at a multiple of 8 bytes. */
function headerOf(tensors: readonly NamedTensor[], dtype: FloatDType): Uint8Array {
  const entries: [string, object][] = [];
  let end = 0;
  for (const { name, shape } of tensors) {
    entries.push([name, { dtype, shape, data_offsets: [end, (end += sizeOf(shape) * (dtype === 'F32' ? 4 : 2))] }]);
  }
  const header = Object.fromEntries([['__metadata__', { format: 'pt' }], ...entries]) as Record<string, unknown>;
  if (Object.keys(header).length !== tensors.length + 1)
    throw new InputError('two tensors have the same name, or one is named __metadata__');
  const json = Buffer.from(JSON.stringify(header));
  const bytes = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ');
  bytes.writeBigUInt64LE(BigInt(bytes.length - 8));
  json.copy(bytes, 8);
  return bytes;
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((product, length) => product * length, 1);

function stored(values: Float32Array, dtype: FloatDType): Float32Array | Uint16Array {
  return dtype === 'F32' ? values : dtype === 'F16' ? float32ToFloat16(values) : float32ToBfloat16(values);
}

/** The exponent bits, which are all 1 in infinities and NaN, of each 16-bit type. */
const NOT_FINITE: Readonly<Record<'F16' | 'BF16', number>> = { F16: 0x7c00, BF16: 0x7f80 };

function requireFinite(
  name: string,
  values: Float32Array,
  numbers: Float32Array | Uint16Array,
  dtype: FloatDType,
): void {
  let sum = 0;
  // 0 unless a value is infinite or NaN; several times faster than testing each
  for (let n = 0; n < values.length; n += 1) sum += values[n]! * 0;
  if (sum !== 0) {
    const wrong = values.findIndex((value) => !Number.isFinite(value));
    throw new InputError(
      `tensor ${quoted(name)} holds ${values[wrong]} at element ${wrong}, so it is not written: ` +
        'the training diverged; try a lower lr, a longer warm-up, or a larger epsilon',
    );
  }
  if (dtype === 'F32') return;
  const bits = NOT_FINITE[dtype];
  const over = (numbers as Uint16Array).findIndex((half) => (half & bits) === bits);
  if (over >= 0)
    throw new InputError(
      `tensor ${quoted(name)} holds ${values[over]} at element ${over}, which is out of the range of ${dtype}; ` +
        `write F32${dtype === 'F16' ? ' or BF16' : ''}`,
    );
}
