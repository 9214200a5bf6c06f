/**
 * The two 16-bit floating types, to float32 and back. Rounding is to the nearest, ties to even, as in PyTorch. This is
 * not left to a library because those on npm know float16 but not bfloat16.
 */

/** bfloat16 is the upper half of float32. */
export function bfloat16ToFloat32(halves: Uint16Array): Float32Array {
  const words = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i += 1) words[i] = halves[i]! << 16;
  return new Float32Array(words.buffer);
}

/** Values too large become infinite; NaN stays NaN, without its payload. */
export function float32ToBfloat16(values: Float32Array): Uint16Array {
  const words = bitsOf(values);
  const halves = new Uint16Array(words.length);
  for (let i = 0; i < words.length; i += 1) {
    const bits = words[i]!;
    const nan = (bits & 0x7fffffff) > 0x7f800000;
    // adds half a unit, less one where the result is even
    halves[i] = nan ? 0x7fc0 : (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
  }
  return halves;
}

/** IEEE 754 binary16: 1 sign bit, 5 of exponent (bias 15), 10 of fraction. */
export function float16ToFloat32(halves: Uint16Array): Float32Array {
  const values = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i += 1) values[i] = FLOAT16[halves[i]!]!;
  return values;
}

/** The value of every bit pattern: a lookup is ten times as fast as the calculation. */
const FLOAT16 = Float32Array.from({ length: 2 ** 16 }, (_, bits) => {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
});

/** Values from 65520 on become infinite; below 2^-14 they lose bits, below 2^-25 all of them. NaN stays NaN. */
export function float32ToFloat16(values: Float32Array): Uint16Array {
  const words = bitsOf(values);
  const halves = new Uint16Array(words.length);
  for (let i = 0; i < words.length; i += 1) {
    const bits = words[i]!;
    halves[i] = ((bits >>> 16) & 0x8000) | magnitude16(bits & 0x7fffffff);
  }
  return halves;
}

/** The bits of a float32 without its sign -> the bits of the nearest float16. */
function magnitude16(bits: number): number {
  if (bits > 0x7f800000) return 0x7e00; // NaN
  if (bits >= 0x47800000) return 0x7c00; // 2^16 and more
  // 2^-14 and more: the exponent's bias changes by 112
  if (bits >= 0x38800000) return roundShift(bits - 0x38000000, 13);
  if (bits < 0x33000000) return 0; // below 2^-25
  return roundShift((bits & 0x7fffff) | 0x800000, 126 - (bits >>> 23)); // subnormal, in units of 2^-24
}

function roundShift(bits: number, shift: number): number {
  return (bits + 2 ** (shift - 1) - 1 + ((bits >>> shift) & 1)) >>> shift;
}

function bitsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}
