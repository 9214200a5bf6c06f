#!/usr/bin/env bash
# transformers 5.23.0, tokenizers 0.23.3: AutoTokenizer makes a GPT-2's tokenizer of the vocabulary and merges in tokenizer.json, and passes over
# the pre-tokenizer and the normalizer that stand in the same file.
#
# `tokenizers` reads the file as it is. So a tokenizer that was saved with ByteLevel(add_prefix_space=True), or with a normalizer, gives other ids
# in transformers than in tokenizers, and nothing says so; the same file read as PreTrainedTokenizerFast gives those of tokenizers.
#
# Seen: "ab" has the ids [4, 3] by the file and as PreTrainedTokenizerFast, [3] as GPT2Tokenizer; "AB" with a Lowercase normalizer [3] and [1, 2].
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet transformers==5.23.0 tokenizers==0.23.3
cd "$work"
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - <<'PYTHON'
import json
from pathlib import Path
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer


def ids(name, text, prefix=False, normalizer=None):
    vocab = {"<|endoftext|>": 0, "A": 1, "B": 2, "ab": 3, "\u0120": 4, "a": 5, "b": 6}
    tokenizer = Tokenizer(models.BPE(vocab, [("a", "b")]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=prefix), decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizer
    folder = Path(name)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    found = {"the file": Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids}
    for kind in ("PreTrainedTokenizerFast", "GPT2Tokenizer"):
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind, "eos_token": "<|endoftext|>"}))
        found[kind] = AutoTokenizer.from_pretrained(folder).encode(text)
    print(name, found)
    return list(found.values())


assert ids("prefix", "ab", prefix=True) == [[4, 3], [4, 3], [3]]
assert ids("lower", "AB", normalizer=normalizers.Lowercase()) == [[3], [3], [1, 2]]
PYTHON
