"""Makes tests/fixtures/data_sets.json: what Python's datasets and TRL make of data sets, tables and whole texts.

layouts   file names of repositories with their cards, and the files of each split that datasets finds in them, for each
          configuration; null where it refuses
tables    CSV files as pandas and Python's csv write them, and their rows as datasets reads them
prompts   pairs of whole texts, and the prompt that TRL's extract_prompt finds, for those where it cuts no word

    python tests/oracles/data_sets.py
"""

import csv
import io
import json
import os
import tempfile
from pathlib import Path

import pandas as pd
from datasets import get_dataset_config_names, load_dataset, load_dataset_builder
from trl.data_utils import extract_prompt

ROOT = Path(__file__).resolve().parent.parent.parent
OUT = Path(os.environ.get("ORACLES_OUT", ROOT / "tests")) / "fixtures"

CONFIGS = """configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
  - split: test
    path: data/test-*
- config_name: small
  data_files: "small/*.jsonl"
- config_name: several
  data_files:
  - split: fit
    path:
    - part1/*.jsonl
    - part2/b.jsonl
"""
LAYOUTS = [
    ["train.jsonl"],
    ["rows.jsonl"],
    ["pairs/train.jsonl", "pairs/test.jsonl", "others/train.jsonl", "others/more.jsonl"],
    ["harmless-base/train.jsonl.gz", "harmless-base/test.jsonl.gz", "red-team/red_team_attempts.jsonl.gz"],
    [
        "data/train-00000-of-00002.parquet",
        "data/train-00001-of-00002.parquet",
        "data/test_prefs-00000-of-00001.parquet",
    ],
    ["my_train_file.csv", "my-validation.csv", "dev.csv", "evaluation 2.csv", "contest.csv"],
    ["train/a.jsonl", "train/b.jsonl", "valid/a.jsonl", "other/train.jsonl"],
    ["train/a.jsonl", "train/notes.txt", "train/c.jsonl"],
    ["a.jsonl", "b.jsonl", ".hidden.jsonl", "__cache__/c.jsonl", "dataset_info.json"],
    ["training.json", "testing.json"],
    ["x/train_1/a.jsonl", "x/my train/b.jsonl", "x/eval.2/c.jsonl"],
]
CARDS = [
    (
        "---\nlicense: mit\n" + CONFIGS + "---\n# Pairs\n",
        [
            "data/train-00000-of-00001.parquet",
            "data/test-00000-of-00001.parquet",
            "small/a.jsonl",
            "small/b.jsonl",
            "part1/a.jsonl",
            "part2/a.jsonl",
            "part2/b.jsonl",
        ],
    ),
    (
        "---\nconfigs:\n- config_name: en\n  data_dir: en\n- config_name: de\n  data_dir: de\n  default: true\n---\n",
        ["en/train.jsonl", "de/train.jsonl", "de/test.jsonl"],
    ),
    ("---\nconfigs:\n- config_name: only\n  data_files: rows.csv\n---\n", ["rows.csv", "other.csv"]),
]

TEXTS = [
    ('A "quoted" word, and a comma', "two\nlines", " space "),
    ("naïve 😀", "a\ttab", "plain"),
    ("it's", 'ends with a quote"', "x"),
]
SHARED = [
    ("The sky is blue.", "The sky is green."),
    ("Question: why?\nAnswer: because.", "Question: why?\nAnswer: no reason."),
    ("Two words here", "Two words there"),
    ("Say it.\n\nYes", "Say it.\n\nNo"),
]


def layout(card, files):
    """{configuration: {split: files}}, the files in the order in which datasets reads them."""
    with tempfile.TemporaryDirectory() as folder:
        for name in files:
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        if card:
            Path(folder, "README.md").write_text(card)
        names = get_dataset_config_names(folder) if card else [None]
        found = {}
        for name in names:
            builder = load_dataset_builder(folder, name)
            found[name or ""] = {
                str(split): [str(Path(file).relative_to(Path(folder).resolve())) for file in paths]
                for split, paths in builder.config.data_files.items()
            }
        return {"card": card, "files": files, "splits": found}


def table(text, name):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(text.encode())
        rows = load_dataset(
            "csv",
            data_files=str(path),
            split="train",
            sep="\t" if name.endswith("tsv") else ",",
            cache_dir=str(Path(folder, "cache")),
        )
        return {"name": name, "text": text, "rows": rows.to_list()}


def tables():
    names = ["prompt", "chosen", "rejected"]
    frame = pd.DataFrame(TEXTS, columns=names)
    yield table(frame.to_csv(index=False), "pandas.csv")
    yield table(frame.to_csv(index=False, sep="\t", quoting=csv.QUOTE_ALL), "tabs.tsv")
    text = io.StringIO()
    writer = csv.writer(text)  # line ends of CR and LF
    writer.writerow(names)
    writer.writerows(TEXTS)
    yield table(text.getvalue(), "python.csv")
    yield table("\ufeff" + frame.to_csv(index=False), "marked.csv")


def main():
    layouts = [layout("", files) for files in LAYOUTS] + [layout(card, files) for card, files in CARDS]
    prompts = [{"given": pair, "split": extract_prompt(dict(zip(("chosen", "rejected"), pair)))} for pair in SHARED]
    found = {"layouts": layouts, "tables": list(tables()), "prompts": prompts}
    (OUT / "data_sets.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
