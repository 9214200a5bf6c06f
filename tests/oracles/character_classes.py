"""Prints what Python's tokenizers takes for letters, numbers and white space, as lib/text/characterClasses.ts keeps it.

    python tests/oracles/character_classes.py FILE

Asks its pre-tokenizer about every code point: a letter stays in one piece with a letter before it, a number with a
number, another character with another; white space with none of them. Ranges are written in base 36, the gap since the
last range and the length of this one, run together with a dash.
"""

import json
import sys
from pathlib import Path

from tokenizers import pre_tokenizers

NEIGHBOURS = {"letters": "a", "numbers": "1", "others": "!"}


def classes():
    """Code point -> class, surrogates left out."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for point in [*range(0xD800), *range(0xE000, 0x110000)]:
        found = (
            name for name, before in NEIGHBOURS.items() if len(byte_level.pre_tokenize_str(before + chr(point))) == 1
        )
        yield point, next(found, "spaces")


def base36(number):
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return digits[number] if number < 36 else base36(number // 36) + digits[number % 36]


def main():
    ranges = {"letters": [], "numbers": [], "spaces": []}
    for point, name in classes():
        if name == "others":
            continue
        if ranges[name] and ranges[name][-1][1] == point:
            ranges[name][-1][1] = point + 1
        else:
            ranges[name].append([point, point + 1])
    written = {}
    for name, found in ranges.items():
        ends = [0, *(end for _, end in found)]
        written[name] = " ".join(
            f"{base36(begin - before)}-{base36(end - begin)}" for (begin, end), before in zip(found, ends)
        )
    Path(sys.argv[1]).write_text(json.dumps(written))


if __name__ == "__main__":
    main()
