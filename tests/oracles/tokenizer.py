"""Makes tests/fixtures/tokenizer.json: strings, and the ids that Python's tokenizers gives them with GPT-2's vocabulary.

    python tests/oracles/tokenizer.py

The tokenizer is built from vocab.json and merges.txt, not from the tokenizer.json that the library reads.
"""
import json
import os
from pathlib import Path

from tokenizers import AddedToken, ByteLevelBPETokenizer

ROOT = Path(__file__).resolve().parent.parent.parent
TINY = ROOT / "data" / "models" / "tiny"
OUT = Path(os.environ.get("ORACLES_OUT", ROOT / "tests"))

STRINGS = [
    "", " ", "  ", "   a", "a", " a", "a ", "a  b", "\n", "\n\n", "\n\n\n", " \n ", "\t", "\t\tx", "a\tb", "a\r\nb", "\r", "a\u00a0b",
    "Hello world", "hello, world!", "Below is an instruction that describes a task.", "### Instruction:\n", "\n\n### Response:\n",
    "What is an antonym of 'complicated'?", "The opposite of 'complicated' is ", "a .", "a . b , c ! d ?",
    "I'm you're he's we've they'll I'd can't", "I'M YOU'RE HE'S", "'s 't 're 've 'm 'll 'd", "rock 'n' roll", "’s",
    "0", "1234567890", "3.14159", "1,000,000", "2^10 = 1024", "v1.2.3-rc4", "0x1F", "½ ² ³", "١٢٣",
    "naïve café", "e\u0301", "Größe", "Ελληνικά", "Привет, мир", "שלום", "مرحبا", "नमस्ते", "สวัสดี", "你好,世界", "こんにちは", "안녕하세요",
    "😀", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪", "a😀b", "\u200b", "\u200d", "\u2028", "\u00ad",
    "\x00", "\x01\x02", "\x7f", "\x1b[31mred", "\ufffd", "\U0001f9ec\U00010348",
    "<|endoftext|>", "a<|endoftext|>b", " <|endoftext|> ", "<|endoftext|><|endoftext|>", "<|endoftext", "<|ENDOFTEXT|>",
    "a" * 200, "ab" * 100, "antidisestablishmentarianism", "SolidGoldMagikarp", "http://example.com/a?b=c&d=%20#e", "foo_bar-baz.qux",
    "if (x === y) { return `${z}`; }", "def f(x):\n    return x + 1\n", "      indented", "trailing   ", "line one\nline two\r\nline three",
    "\\n is not a newline", "“quoted” — dash… ellipsis", "$100 €50 £20", "C++ C# F#", "(((nested)))", "?!?!?!", "...", "----------",
]


def main():
    tokenizer = ByteLevelBPETokenizer(str(TINY / "vocab.json"), str(TINY / "merges.txt"), add_prefix_space=False)
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", normalized=False)])
    rows = []
    for text in STRINGS:
        ids = tokenizer.encode(text).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text, text
        rows.append([text, ids])
    lines = ",\n".join(json.dumps(row) for row in rows)
    (OUT / "fixtures" / "tokenizer.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
