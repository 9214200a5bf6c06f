"""Makes tests/fixtures/half-floats.json: float32 patterns, and the float16 and bfloat16 patterns that PyTorch rounds
them to.

    python tests/oracles/half_floats.py                    the kept sample
    python tests/oracles/half_floats.py --count N FILE     N random patterns: FILE holds N of uint32, then N of uint16
                                                           twice

NaN is given as 0x7e00 and 0x7fc0: which of the many NaNs comes out depends, in PyTorch, on the processor's vector
instructions.
"""

import argparse
import json
import os
from pathlib import Path

import numpy
import torch

OUT = Path(os.environ.get("ORACLES_OUT", Path(__file__).resolve().parent.parent))


def rounded(bits, dtype, nan):
    values = torch.from_numpy(bits.view(numpy.float32).copy())
    halves = values.to(dtype).view(torch.int16).numpy().view(numpy.uint16)
    return numpy.where(numpy.isnan(values.numpy()), nan, halves).astype(numpy.uint16)


def edges():
    """Around every power of two that float16 or bfloat16 treats apart: exact, halfway, and one off either, of both
    signs."""
    exponents = [
        0,
        1,
        2,
        3,
        4,
        96,
        97,
        100,
        101,
        102,
        103,
        104,
        110,
        111,
        112,
        113,
        114,
        126,
        127,
        128,
        140,
        141,
        142,
        143,
        144,
        250,
        253,
        254,
        255,
    ]
    fractions = [
        0,
        1,
        0xFFF,
        0x1000,
        0x1001,
        0x1FFF,
        0x2000,
        0x2FFF,
        0x3000,
        0x3001,
        0x7FFF,
        0x8000,
        0x8001,
        0x17FFF,
        0x18000,
        0x18001,
        0x400000,
        0x7FE000,
        0x7FEFFF,
        0x7FF000,
        0x7FFFFF,
    ]
    return [
        (sign << 31) | (exponent << 23) | fraction
        for sign in (0, 1)
        for exponent in exponents
        for fraction in fractions
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int)
    parser.add_argument("file", type=Path, nargs="?", default=OUT / "fixtures" / "half-floats.json")
    options = parser.parse_args()
    random = numpy.random.default_rng(16)
    if options.count is None:
        bits = numpy.concatenate([numpy.array(edges(), numpy.uint32), random.integers(0, 2**32, 300, numpy.uint32)])
    else:  # half of them where float16 has values
        bits = random.integers(0, 2**32, options.count, numpy.uint32)
        bits[::2] = (bits[::2] & 0x807FFFFF) | (random.integers(100, 146, len(bits[::2])).astype(numpy.uint32) << 23)
    halves = [rounded(bits, torch.float16, 0x7E00), rounded(bits, torch.bfloat16, 0x7FC0)]
    if options.count is None:
        options.file.write_text(
            json.dumps({"F32": bits.tolist(), "F16": halves[0].tolist(), "BF16": halves[1].tolist()}) + "\n"
        )
    else:
        options.file.write_bytes(b"".join(array.tobytes() for array in (bits, *halves)))


if __name__ == "__main__":
    main()
