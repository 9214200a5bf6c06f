#!/usr/bin/env bash
# datasets 5.2.0: load_dataset reads a file twice if two words of its name mean the same split, and counts a file in two
# splits if its name has the words of both.
#
# Where a data set has no list of files in its card, load_dataset finds the files of a split by words in their names:
# train, training; validation, valid, dev, val; test, testing, eval, evaluation. Each word is a pattern, and the files of
# all patterns are joined without removing those that were found before. So every row of eval-test.jsonl is there twice,
# which doubles its weight, and the rows of train-dev.jsonl are in the validation split and also trained on.
#
# Seen, for files of one row each:
#     train.jsonl, eval-test.jsonl: train 1 row, test 2 rows
#     training-train.jsonl: train 2 rows
#     train.jsonl, train-dev.jsonl: train 2 rows, validation 1 row; 1 of validation's rows is in train
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet datasets==5.2.0
cd "$work"
HF_HOME="$work/home" HF_HUB_OFFLINE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1 "$work/venv/bin/python" - <<'PYTHON'
import json
import sys
from pathlib import Path

from datasets import disable_progress_bars, load_dataset

disable_progress_bars()


def splits(number, *names):
    folder = Path(f"set{number}")
    folder.mkdir()
    for name in names:
        (folder / name).write_text(json.dumps({"prompt": f"in {name}"}) + "\n")
    found = {split: rows["prompt"][:] for split, rows in load_dataset(str(folder)).items()}
    counts = ", ".join(f"{split} {len(rows)} {'row' if len(rows) == 1 else 'rows'}" for split, rows in found.items())
    shared = set(found.get("train", [])) & set(found.get("validation", []))
    print(f"{', '.join(names)}: {counts}" + (f"; {len(shared)} of validation's rows is in train" if shared else ""))
    return found, shared


twice, _ = splits(1, "train.jsonl", "eval-test.jsonl")
again, _ = splits(2, "training-train.jsonl")
both, shared = splits(3, "train.jsonl", "train-dev.jsonl")
as_recorded = len(twice["test"]) == 2 and len(again["train"]) == 2 and len(both["train"]) == 2 and len(shared) == 1
sys.exit(0 if as_recorded else 1)
PYTHON
