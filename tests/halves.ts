/** What the writer turns float32 values into, in 16 bits. */
import { SafetensorsFile, writeSafetensors, type FloatDType } from 'alignbook';

/** The bit patterns in the file, with NaN as 0x7e00 or 0x7fc0 whatever its sign, and the values read back. */
export function writtenAs(
  dtype: Exclude<FloatDType, 'F32'>,
  values: Float32Array,
  path: string,
): { halves: Uint16Array; read: Float32Array } {
  writeSafetensors(path, [{ name: 'x', shape: [values.length], values }], { dtype, finite: false });
  using file = new SafetensorsFile(path);
  const read = file.float32('x');
  const nan = dtype === 'F16' ? 0x7e00 : 0x7fc0;
  return {
    halves: new Uint16Array(file.bytes('x').buffer).map((half, i) =>
      Number.isNaN(values[i]) && Number.isNaN(read[i]) ? nan : half,
    ),
    read,
  };
}
