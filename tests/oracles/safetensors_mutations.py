"""Ways to damage a safetensors file. Each takes a seeded random.Random and what it damages, and gives it back changed.

A file is made from text pieces, so that a number can be spelled and a key repeated in ways that no JSON writer would.
"""

import json
import struct

BITS = {
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}
NAMES = [
    "x",
    "wte.weight",
    "h.0.ln_1.bias",
    "",
    "__proto__",
    "constructor",
    "toString",
    "0",
    "é",
    "😀",
    "a\nb",
    '"',
    "\\",
    "\u2028",
    "\ufeffx",
    "n" * 90,
]


class Entry:
    """One tensor of a header; its fields are JSON texts, so that each can be misspelled."""

    def __init__(self, name, dtype, shape, begin, end):
        self.key = json.dumps(name)
        self.fields = [
            ["dtype", json.dumps(dtype)],
            ["shape", json.dumps(shape)],
            ["data_offsets", f"[{begin}, {end}]"],
        ]
        self.dtype, self.shape, self.begin, self.end = dtype, shape, begin, end

    def set(self, field, text):
        self.fields = [[key, text if key == field else value] for key, value in self.fields]

    def text(self):
        return "{" + ",".join(f'"{key}":{value}' for key, value in self.fields) + "}"


def draw_shape(random, dtype):
    """Its bits fill whole bytes."""
    shape = [random.choice([0, 1, 1, 2, 3, 4, 5]) for _ in range(random.randrange(4))]
    if BITS[dtype] < 8:
        shape.append(random.choice([4, 8]))
    return shape


def draw_file(random):
    """-> entries, metadata (a JSON text or None), data. A sound file."""
    entries, end = [], 0
    for name in random.sample(NAMES, random.choice([0, 1, 1, 2, 2, 3, 4])):
        dtype = random.choice([*BITS, "F32", "F32", "F16", "BF16"])
        shape = draw_shape(random, dtype)
        size = BITS[dtype] // 2  # in half bytes: a product of small numbers stays whole
        for length in shape:
            size *= length
        begin, end = end, end + size // 4
        entries.append(Entry(name, dtype, shape, begin, end))
    random.shuffle(entries)
    metadata = random.choice([None, None, '{"format":"pt"}', "{}", "null", '{"__proto__":"a","é":"\\n"}'])
    return entries, metadata, random.randbytes(end)


def header_text(random, entries, metadata):
    members = [f"{entry.key}:{entry.text()}" for entry in entries]
    if metadata is not None:
        members.insert(random.randrange(len(members) + 1), f'"__metadata__":{metadata}')
    space = random.choice(["", "", " ", "\n", "\t\r"])
    return "{" + f",{space}".join(members) + "}" + " " * random.choice([0, 0, 3, 8])


NUMBERS = [
    "1.0", "1e0", "1E+0", "-0", "-1", "01", "+1", "1.", ".5", "0.5", "0x1", "NaN", "Infinity", "true", "null", '"1"',
    "[1]", "{}", "0", "1", "2", "7",
    "4294967296", "9007199254740991", "9007199254740993", "4611686018427387904", "18446744073709551615",
    "18446744073709551616", "1e400", "1" + "0" * 400,
]  # fmt: skip


def respell_number(random, entry):
    field = random.choice(["shape", "data_offsets"])
    numbers = entry.shape[:] if field == "shape" else [entry.begin, entry.end]
    numbers = [str(number) for number in numbers] or ["0"]
    at = random.randrange(len(numbers))
    same = [f"{numbers[at]}.0", f"{numbers[at]}e0", f"0{numbers[at]}", f"-{numbers[at]}"]
    numbers[at] = random.choice(NUMBERS + same * 3)
    entry.set(field, "[" + ",".join(numbers) + "]")


def huge_shape(random, entry):
    size = random.choice([2**32, 2**40, 2**53 - 1, 2**53 - 1, 2**53 + 1, 2**61, 2**62, 2**63, 2**64 - 1])
    shape = [size, random.choice([1, 2, 4, 2**24, 2**32, 2**40])]
    shape.insert(random.choice([0, 1, 2, 2]), random.choice([0, 0, 0, 1, 3]))
    entry.set("shape", json.dumps(shape))
    if random.random() < 0.7:  # a tensor of no bytes, where the overflow alone decides
        entry.set("data_offsets", f"[{entry.begin}, {entry.begin}]")


def other_dtype(random, entry):
    entry.set(
        "dtype",
        json.dumps(random.choice([*BITS, "F31", "f32", "float32", "F8_E4M3FN", "", "toString", "__proto__", " F32"])),
    )


def odd_dtype(random, entry):
    name = json.dumps(entry.dtype)
    entry.set(
        "dtype",
        random.choice(
            ["null", "3", "[]", f"[{name}]", f"{{{name}:null}}", f"{{{name}:1}}", f"{{{name}:null,{name}:null}}", "{}"]
        ),
    )


def other_shape(random, entry):
    shape = entry.shape[:]
    for _ in range(random.choice([1, 1, 2])):
        change = random.randrange(4)
        if change == 0 or not shape:
            shape.insert(random.randrange(len(shape) + 1), random.choice([0, 1, 1, 2, 3]))
        elif change == 1:
            shape.pop(random.randrange(len(shape)))
        elif change == 2:
            random.shuffle(shape)
        else:
            shape[random.randrange(len(shape))] += random.choice([-1, 1])
    entry.set("shape", random.choice([json.dumps(shape)] * 6 + ["null", "{}", "1", '"1"', "[[1]]"]))


def sub_byte(random, entry):
    """Three values of 4 or 6 bits, in as many bytes as they would nearly fill."""
    entry.set("dtype", json.dumps(random.choice(["F4", "F6_E2M3", "F6_E3M2"])))
    entry.set("shape", random.choice(["[3]", "[1]", "[5,1]", "[7]", "[4]", "[2]", "[8]"]))


def other_offsets(random, entry):
    begin, end = (value + random.choice([-4, -1, 0, 0, 1, 4]) for value in (entry.begin, entry.end))
    texts = [f"[{begin},{end}]"] * 5 + [
        f"[{entry.end},{entry.begin}]",
        f"[{entry.begin}]",
        f"[{entry.begin},{entry.end},0]",
        "null",
        "[]",
        '{"0":0,"1":4}',
    ]
    entry.set("data_offsets", random.choice(texts))


def other_fields(random, entry):
    change = random.randrange(5) if len(entry.fields) > 1 else 3
    if change == 0:
        entry.fields.pop(random.randrange(len(entry.fields)))
    elif change == 1:
        entry.fields.append(list(random.choice(entry.fields)))  # twice
    elif change == 2:
        random.shuffle(entry.fields)
    elif change == 3:
        depth = random.choice([1, 3, 124, 125, 126, 127, 5000])
        values = [
            "1",
            "1e999",
            "-1.5e-7",
            '"\\ud800"',
            '"\\udc00\\ud800"',
            '"\\ud83d\\ude00"',
            '"\x01"',
            '"\\x"',
            '{"a":1,"a":2}',
            "[" * depth + "]" * depth,
            "nul",
            '"\x7f"',
        ]
        entry.fields.append([random.choice(["extra", "__proto__", "Dtype", ""]), random.choice(values)])
    else:
        at = random.randrange(len(entry.fields))
        entry.fields[at][0] = random.choice(["\\u0064type", "\\u0073hape", "DTYPE", "Shape", "offsets", "__proto__"])


def other_entry(random, entry):
    fields = [value for _, value in entry.fields]
    whole = random.choice(
        [
            "null",
            "1",
            "[]",
            '"F32"',
            "{}",
            "true",
            f"[{','.join(fields)}]",
            f"[{','.join(fields)},0]",
            f"[{','.join(fields[:2])}]",
        ]
    )
    entry.text = lambda: whole


def other_key(random, entry):
    entry.key = random.choice(
        [
            '"\\ud800"',
            '"\\ud83d\\ude00"',
            '"\\u0078"',
            '"\x00"',
            "x",
            "'x'",
            "1",
            '"x',
            '"__metadata__"',
            '"\\u005f_proto__"',
        ]
    )


def other_metadata(random):
    return random.choice(
        [
            '{"a":1}',
            '{"a":null}',
            "[]",
            '[["a","b"]]',
            "1",
            '"pt"',
            '{"a":"b","a":"c"}',
            '{},"__metadata__":{}',
            'null,"__metadata__":null',
            '{"a":{}}',
        ]
    )


def tokens(random, text):
    """Changes the text of a header at one place."""
    at = random.randrange(len(text) + 1)
    change = random.randrange(9)
    if change == 0:
        return text[:at] + text[at + random.choice([1, 1, 2, 5]) :]
    if change == 1:
        return (
            text[:at]
            + random.choice([*"{}[],:\"\\ 0123456789.eE+-/*'\t\n\x00\x0b\x0c\u00a0\u2028\ufeff", "null", "//", "/**/"])
            + text[at:]
        )
    if change == 2:
        end = at + random.randrange(30)
        return text[:end] + text[at:]  # a piece twice
    if change == 3:
        return random.choice([" ", "\n", "\ufeff", "\x00", "//\n", "["]) + text
    if change == 4:
        return text + random.choice([" ", "\n", "\x00", "\x0b", "\u00a0", "}", "{}", ",", "null", "\ufeff"])
    if change == 5:
        return text.replace(random.choice(['"', ":", ",", "{", "]"]), random.choice(["'", ";", ",,", "", "[", "}"]), 1)
    if change == 6:
        return text[:at]
    if change == 7:
        end = random.choice("]}")
        return text.replace(end, f",{end}", random.choice([1, 2]))
    return random.choice(["", "null", "[]", "1", '"a"', "[{}]", "{", "nul", "tru", "-", "{}"])


def octets(random, header):
    """Changes the bytes of a header, which may then be no UTF-8."""
    at = random.randrange(len(header) + 1)
    wrong = random.choice(
        [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", bytes([random.randrange(256)])]
    )
    return header[:at] + wrong + header[at + random.choice([0, 1]) :]


def whole_file(random, file):
    """Changes its length field or its data, cuts it or makes it longer."""
    stated = struct.unpack("<Q", file[:8])[0]
    change = random.randrange(6)
    if change == 0:
        lengths = [
            0,
            1,
            stated - 1,
            stated + 1,
            stated + 8,
            len(file),
            len(file) - 8,
            len(file) - 7,
            100_000_000,
            100_000_001,
            2**31,
            2**32 + stated,
            2**53,
            2**63,
            2**64 - 1,
            2**64 - 8,
        ]
        return struct.pack("<Q", max(0, random.choice(lengths))) + file[8:]
    if change == 1:
        return file[: random.randrange(len(file))]
    if change == 2:
        return file + random.randbytes(random.choice([1, 4, 8]))
    if change == 3:
        return file[: -random.choice([1, 2, 4])]
    if change == 4:
        return random.randbytes(random.randrange(40))
    return file[: 8 + stated] + random.randbytes(len(file) - 8 - stated)  # other data: a sound file again
