"""Makes tests/fixtures/tokenizer.json: strings, and the ids that Python's tokenizers gives them with GPT-2's
vocabulary.

    python tests/oracles/tokenizer.py                         the kept strings
    python tests/oracles/tokenizer.py --count N --seed S FILE  N random ones, then as many lists of random ids with what
                                                               they decode to

The tokenizer is built from vocab.json and merges.txt, not from the tokenizer.json that the library reads.
"""

import argparse
import json
import os
import random as randomness
from pathlib import Path

from tokenizers import AddedToken, ByteLevelBPETokenizer

ROOT = Path(__file__).resolve().parent.parent.parent
TINY = ROOT / "data" / "models" / "tiny"
OUT = Path(os.environ.get("ORACLES_OUT", ROOT / "tests"))

STRINGS = [
    "", " ", "  ", "   a", "a", " a", "a ", "a  b", "\n", "\n\n", "\n\n\n", " \n ", "\t", "\t\tx", "a\tb", "a\r\nb",
    "\r", "a\u00a0b",
    "Hello world", "hello, world!", "Below is an instruction that describes a task.", "### Instruction:\n", "\n\n"
    "### Response:\n",
    "What is an antonym of 'complicated'?", "The opposite of 'complicated' is ", "a .", "a . b , c ! d ?",
    "I'm you're he's we've they'll I'd can't", "I'M YOU'RE HE'S", "'s 't 're 've 'm 'll 'd", "rock 'n' roll", "’s",
    "0", "1234567890", "3.14159", "1,000,000", "2^10 = 1024", "v1.2.3-rc4", "0x1F", "½ ² ³", "١٢٣",
    "naïve café", "e\u0301", "Größe", "Ελληνικά", "Привет, мир", "שלום", "مرحبا",
    "नमस्ते", "สวัสดี", "你好,世界", "こんにちは", "안녕하세요",
    "😀", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪", "a😀b", "\u200b", "\u200d", "\u2028", "\u00ad",
    "\x00", "\x01\x02", "\x7f", "\x1b[31mred", "\ufffd", "\U0001f9ec\U00010348",
    "<|endoftext|>", "a<|endoftext|>b", " <|endoftext|> ", "<|endoftext|><|endoftext|>", "<|endoftext", "<|ENDOFTEXT|>",
    "a" * 200, "ab" * 100, "antidisestablishmentarianism", "SolidGoldMagikarp", "http://example.com/a?b=c&d=%20#e",
    "foo_bar-baz.qux",
    "if (x === y) { return `${z}`; }", "def f(x):\n    return x + 1\n", "      indented", "trailing   ", "line one\n"
    "line two\r\nline three",
    "\\n is not a newline", "“quoted” — dash… ellipsis", "$100 €50 £20", "C++ C# F#", "(((nested)))", "?!?!?!", "...",
    "----------",
    # what belongs to a word, in odd places
    "I'm I’m i'M I'M'm 'M m' '' 'S's", "DON'T don'T Don't", "it's'll've", "'sun 'tis 'rear 'very 'my 'llama 'dad",
    "y'all'd've", "a's 1's !'s é's 你's", " 's  's\n's\t's", "'ſ", "o'clock", "''s", "'s" * 40,
    "1st 2nd 3.0 1e-5 0b1010 １２３ ⅷ ①② ௧௨ ७८९ ০১ 𝟘𝟙 ৴ ½½ 10⁴ x₂", "٣٤٥ abc٣", "Ⅳ ⅣⅤ",
    "二〇二四", "1a1 a1a 1 a", "12'34", "1_000_000",
    "straße STRASSE ﬁ ﬀ Ǆ ǅ ǆ ı İ", "ªº", "ʰʷ ʼ ˈ", "Ωµμ Å Å", "a\u0301\u0302 \u0301 a\u0301b", "\u0301\u0301",
    "नि ক্ষ ക്ഷ", "ก็ น้ำ", "각 \u1100\u1161\u11a8", "ཧྐྵྨླྺྼྻྂ", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢", "ﷺ ﷽ صلى",
    "א\u05b8\u05bc ב", "e\u20dd 1\u20e3", "ｈｅｌｌｏ　ｗｏｒｌｄ", "ﾊﾝｶｸ", "𝒜𝓫𝔠 𝕯", "𐐷𐐸", "𠀀𠮷", "\u16a0\u16a1", "ꙮ",
    "\u0ec6\u0eaf", "ᏣᎳᎩ", "ጤና", "\u1885\u1886", "ℵℶ ℃ ℉ ™ №",
    # emoji
    "❤ ❤️ ☺︎", "👩\u200d🚀👨\u200d👩\u200d👧", "👍👍🏻👍🏼👍🏿", "🏳️\u200d🌈",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "1️⃣#️⃣*️⃣", "🇩🇪🇫🇷🇺", "😀😀😀", " 😀 😀", "🫠🫨🪿",
    "\U0001fae9\U0001fadf", "☃\ufe0f\ufe0e", "\U0001f1e6", "🤷🏽\u200d♀️s", "🧑\u200d",
    # white space
    "    ", "     x", "x     ", " " * 31, " " * 100 + "x", "a" + " " * 64 + "b", "  a  b  c  ", " \t \t ", "\t\t\t\t",
    "\n" * 17, "\r\n\r\n", "\r\r\n", "a\r\n b", "a \r\n", "\n\n  \n", "  \n  \n  x", "\x0b", "a\x0bb\x0c", "\x0c\x0c a",
    "\x1c\x1d\x1e\x1f", "a\x1cb", "a\x85b", "\x85", " \x85 ", "\x85\x85x", "a \x85b", "\x85!", "\xa0", "\xa0\xa0",
    " \xa0 x", "a\xa0\xa0b", "\u1680", "a\u1680b", "\u180e", "a\u180eb", " \u180e", "a \u180e b",
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a", "a\u2003b", "a\u2009 b", "\u2028\u2029",
    "a\u2028b", "\u202f", "12\u202f345", "\u205f", "a\u205fb", "\u3000", "你\u3000好", "\u3000\u3000 x", "\u2060",
    "a\u2060b", "\u2800", "\u3164", "\u115f", " \u200b ", "a\u200cb\u200dc", "\t\xa0\u3000\n x",
    # byte order marks, which are no white space
    "\ufeff", "\ufeffa", "\ufeff a", "a\ufeff", "a \ufeffb", "a \ufeff b", "a\ufeffb", " \ufeff", "\ufeff\ufeff",
    "  \ufeff  ", "\ufeff\n", "\n\ufeff", "\ufeff'", "\ufeff1", "!\ufeff!", "\ufffe", "\uffff", "\U0010ffff",
    # control and format characters, private use, not assigned, younger than Unicode 16
    "\x00\x00", "a\x00b", " \x00", "\x02\x03\x04", "\x07\x08", "a\x08b", "\x1b[0m\x1b[1;31m", "\x7f\x80\x81", "\x80",
    "\x9f", "soft\xadhyphen", "\u061c", "\u200e\u200f", "\u202a\u202eabc\u202c", "\u2066\u2069", "\ufff9\ufffa\ufffb",
    "\ue000", "a\uf8ffb", "\U000f0000", "\u0378", "a\u0378b", "\ufdd0", "\U00016ea0\U00016ea1", "a\U000323b0", "\u088f",
    "a\ua7d2", "1\U00011de0", "\U00010d40\U00010d4a", "\U000105c0", "a\U0001e6c0", "\U00016ff4",
    # the special token, and nearly
    "<|endoftext|>a", "a<|endoftext|>", "<|endoftext|> a", "a <|endoftext|>", "a\n<|endoftext|>\nb",
    "<|endoftext|>\n\n", "\ufeff<|endoftext|>", "<|endoftext|>\ufeff", " <|endoftext|>", "<|endoftext|> ",
    "  <|endoftext|>  ", "<|endoftext|>'s", "'s<|endoftext|>", "1<|endoftext|>2",
    "<|endoftext|><|endoftext|><|endoftext|>a", "<|endoftext|>  <|endoftext|>", "<<|endoftext|>>", "|<|endoftext|>|",
    "<|endoftext|", "endoftext|>", "<|endoftext |>", "<|end<|endoftext|>oftext|>", "< |endoftext|>", "<|EndOfText|>",
    "＜|endoftext|＞", "<|endoftext|>é", "e<|endoftext|>\u0301", "<|startoftext|>", "<|pad|>", "<s></s>", "[PAD]",
    "é<|endoftext|>😀<|endoftext|>\xa0",
    # long ones
    "a" * 5000, "ab" * 2500, "é" * 1000, "😀" * 500, "0" * 1000, "!" * 1000, " a" * 1000, "\n" * 1000, " " * 1000,
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft", "x" * 257 + "é" + "y" * 257,
    "pneumonoultramicroscopicsilicovolcanoconiosis" * 5, "你好" * 300, "qwertyuiopasdfghjklzxcvbnm" * 20, "a-b" * 300,
    "\u0301" * 200,
    # code and marks
    "{\"a\": [1, 2.5, null, \"\\u00e9\"]}", "<div class=\"x\">&nbsp;</div>", "SELECT * FROM t WHERE a='b';",
    "C:\\Users\\x", "#!/bin/sh\n\tset -e\n", "x**2 != y//3 -> z", "«guillemets» „low“ ‚x‘", "…………", "– — ― ‐ ‑",
    "→ ⇒ ≤ ≥ ≠ ∞ ∑ √", "♪♫ ♥ ★", "´`^~¨", "¿Qué? ¡Sí!", "a,b;c:d.e!f?g", "\\", "\"", "'", "`", "_", "__init__", "a__b",
    "@user #tag", "100%", "~/x", "a/b/c", "1/2", "user@example.com", "192.168.0.1", "12:34:56", "2024-01-31T00:00:00Z",
    "0xDEADBEEF", "aBcDeF", "XMLHttpRequest2", "iPhone15ProMax",
]  # fmt: skip


# What a random string is made of, besides any code point.
PIECES = [
    *"    \n\n\t\r'aAzZ019.,-_<|>", "\r\n", "'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "’s", " the", "ing",
    "Hello", "<|endoftext|>", "<|endoftext", "|>",
    "\x85", "\xa0", "\u1680", "\u180e", "\u2003", "\u2028", "\u202f", "\u205f", "\u3000", "\ufeff", "\u200b", "\u200d",
    "\ufe0f", "\u0301", "\x00", "\x1c", "\x7f", "é", "ß", "Я", "你", "ก็", "क्ष",
    "😀", "🏽", "👩\u200d🚀", "½", "٣", "①", "𝟘", "\U00016ea0", "\U000323b0", "\ue000", "  ", "   ", "     ",
]  # fmt: skip
RANGES = [
    (0, 0x80),
    (0x80, 0x250),
    (0x250, 0x800),
    (0x800, 0x3000),
    (0x3000, 0xD800),
    (0xE000, 0x10000),
    (0x10000, 0x20000),
    (0x20000, 0x110000),
]


def draw_text(random):
    def piece():
        return random.choice(PIECES) if random.random() < 0.6 else chr(random.randrange(*random.choice(RANGES)))

    return "".join(
        piece() * random.choice([1, 1, 1, 1, 1, 2, 3, 9]) for _ in range(random.choice([1, 2, 3, 5, 10, 30]))
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("file", type=Path, nargs="?", default=OUT / "fixtures" / "tokenizer.json")
    options = parser.parse_args()
    tokenizer = ByteLevelBPETokenizer(str(TINY / "vocab.json"), str(TINY / "merges.txt"), add_prefix_space=False)
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", normalized=False)])

    def row(text):
        ids = tokenizer.encode(text).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text, text
        return [text, ids]

    if options.count is None:
        assert len(set(STRINGS)) == len(STRINGS), [text for text in STRINGS if STRINGS.count(text) > 1]
        lines = ",\n".join(json.dumps(row(text)) for text in STRINGS)
        options.file.write_text(f"[\n{lines}\n]\n")
        return
    random = randomness.Random(options.seed)
    with options.file.open("w") as out:
        for _ in range(options.count):
            out.write(f"{json.dumps(row(draw_text(random)))}\n")
        for _ in range(options.count):
            ids = [
                random.choice([random.randrange(50257), random.randrange(256), 50256])
                for _ in range(random.randrange(1, 12))
            ]
            out.write(f"{json.dumps([tokenizer.decode(ids, skip_special_tokens=False), ids])}\n")


if __name__ == "__main__":
    main()
