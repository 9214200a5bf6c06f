#!/usr/bin/env bash
# tokenizers 0.23.3: the "id" of an added token in tokenizer.json is not what the token gets.
#
# A token that the vocabulary lacks gets the next free id in the order of the list, and the id in the file is passed over. A model trained with
# the id in the file is then given another one.
#
# Seen: <pad> stands in the file under 40, and a vocabulary of 3 tokens: it is encoded as 3.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet tokenizers==0.23.3
"$work/venv/bin/python" - <<'PYTHON'
import json
from tokenizers import AddedToken, Tokenizer, models

tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "c": 2}, []))
tokenizer.add_special_tokens([AddedToken("<pad>")])
made = json.loads(tokenizer.to_str())
made["added_tokens"][0]["id"] = 40
ids = Tokenizer.from_str(json.dumps(made)).encode("a<pad>").ids
print("in the file 40, encoded as", ids[1])
assert ids == [0, 3]
PYTHON
