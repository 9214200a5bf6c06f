"""Makes tests/fixtures/safetensors.json: damaged and sound safetensors files, each with what Python's safetensors says
of it.

    python tests/oracles/safetensors_cases.py                          the kept sample: cases of every class
    python tests/oracles/safetensors_cases.py --count N --seed S FILE  N cases, one JSON object a line

A case has its `file` (base64), the `kind` of change, Python's `error` by class (null where it reads the file), its
`tensors` ([name, dtype, shape, hex of the bytes]) and `stricter`: why the library refuses a file that Python reads,
which its README names. That last is worked out here from the header, not asked of the library.
"""

import argparse
import base64
import json
import os
import random as randomness
import struct
import tempfile
from collections import Counter
from pathlib import Path

import safetensors_mutations as mutations
from safetensors import SafetensorError, deserialize, safe_open

OUT = Path(os.environ.get("ORACLES_OUT", Path(__file__).resolve().parent.parent))

# What Python's messages begin with, those of serde_json told apart by kind.
CLASSES = [
    "header too small", "header too large", "invalid header length", "invalid UTF-8 in header", "invalid offset "
    "for tensor",
    "invalid shape, data type, or offset for tensor", "incomplete metadata, file not fully covered", "overflow "
    "computing buffer size",
    "The slice is slicing for subbytes dtypes",
]  # fmt: skip
JSON_CLASSES = [
    "EOF while parsing", "control character", "duplicate field", "expected `,` or `}`", "expected `,` or `]`",
    "expected `:`", "expected ident",
    "expected value", "invalid escape", "invalid length", "invalid number", "invalid type", "invalid value", "key "
    "must be a string",
    "lone leading surrogate in hex escape", "missing field", "number out of range", "recursion limit exceeded",
    "trailing characters",
    "trailing comma", "unexpected end of hex escape", "unknown variant",
]  # fmt: skip


def error_class(message):
    message = message.removeprefix("Error while deserializing: ")
    for name in CLASSES:
        if message.startswith(name):
            return name
    for name in JSON_CLASSES:
        if message.startswith(f"invalid JSON in header: {name}"):
            return f"JSON: {name}"
    raise AssertionError(f"an error of no known class: {message}")


def draw(random):
    """-> the file, the kind of change. Two thirds have another header."""
    entries, metadata, data = mutations.draw_file(random)
    kind = random.choices(["sound", "file", "fields", "text", "bytes"], [15, 18, 44, 18, 5])[0]
    if kind == "fields":
        for _ in range(random.choice([1, 1, 1, 1, 2])):
            if not entries or random.random() < 0.08:
                metadata = mutations.other_metadata(random)
                continue
            changes = [
                mutations.respell_number, mutations.huge_shape, mutations.other_dtype, mutations.odd_dtype,
                mutations.other_shape, mutations.sub_byte,
                mutations.other_offsets, mutations.other_fields, mutations.other_fields, mutations.other_entry,
                mutations.other_key,
            ]  # fmt: skip
            random.choice(changes)(random, random.choice(entries))
        if entries and random.random() < 0.05:
            entries.append(random.choice(entries))
    text = mutations.header_text(random, entries, metadata)
    if kind == "text":
        text = mutations.tokens(random, text)
    header = text.encode()
    if kind == "bytes":
        header = mutations.octets(random, header)
    file = struct.pack("<Q", len(header)) + header + data
    return (mutations.whole_file(random, file) if kind == "file" else file), kind


def stricter(file):
    """Why the library refuses this file, which Python reads; None where it reads it too."""
    header = file[8 : 8 + struct.unpack("<Q", file[:8])[0]]
    if header[:1] != b"{":
        return "first byte"
    twice = []

    def pairs(members):
        twice.extend(key for key, count in Counter(key for key, _ in members).items() if count > 1)
        return dict(members)

    tensors = json.loads(header.decode(), object_pairs_hook=pairs)
    tensors.pop("__metadata__", None)
    if twice:
        return "a key twice"
    if any(not isinstance(entry, dict) or not isinstance(entry["dtype"], str) for entry in tensors.values()):
        return "another notation"
    if any(length > 2**53 - 1 for entry in tensors.values() for length in entry["shape"]):
        return "a dimension above 2^53 - 1"
    return None


def judged(file, kind, path):
    case = {"file": base64.b64encode(file).decode(), "kind": kind, "error": None, "stricter": None, "tensors": None}
    try:
        tensors = deserialize(file)
    except SafetensorError as error:
        case["error"] = error_class(str(error))
    path.write_bytes(file)
    try:
        with safe_open(path, "np"):
            opened = True
    except (SafetensorError, OSError, ValueError):
        opened = False
    assert opened == (case["error"] is None), f"Python's two readers disagree: {case}"
    if opened:
        case["stricter"] = stricter(file)
        case["tensors"] = sorted(
            [name, entry["dtype"], entry["shape"], bytes(entry["data"]).hex()] for name, entry in tensors
        )
        if case["stricter"] is not None:
            case["tensors"] = None
    return case


def cases(count, seed):
    random = randomness.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(count):
            yield judged(*draw(random), Path(folder) / "case.safetensors")


def sample():
    """Up to seven of each class of error, five of each stricter refusal, and 110 that are read."""
    kept, counts = [], Counter()
    for case in cases(12_000, 3):
        kind = case["error"] or case["stricter"] or "read"
        limit = 110 if kind == "read" else 5 if case["stricter"] else 7
        if counts[kind] < limit and len(case["file"]) < 1500:
            counts[kind] += 1
            kept.append(case)
    return kept


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("file", type=Path, nargs="?", default=OUT / "fixtures" / "safetensors.json")
    options = parser.parse_args()
    if options.count is None:
        lines = ",\n".join(json.dumps(case) for case in sample())
        options.file.write_text(f"[\n{lines}\n]\n")
    else:
        with options.file.open("w") as out:
            out.writelines(f"{json.dumps(case)}\n" for case in cases(options.count, options.seed))


if __name__ == "__main__":
    main()
