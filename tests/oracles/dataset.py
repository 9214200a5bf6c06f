"""Makes tests/fixtures/parquet, files that pyarrow writes, and tests/fixtures/dataset.json: their rows, and what TRL
makes of rows.

files         the rows of each Parquet file, as JSON
conversations pairs as whole conversations, and the prompt and responses that TRL's extract_prompt finds in them
truncation    pairs as texts, and the sequences that TRL's collator cuts from them in both its modes; null where its DPO
              trainer
              leaves the pair out
"""

import json
import os
import random as randomness
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import AutoTokenizer
from trl.data_utils import extract_prompt
from trl.trainer.dpo_trainer import DataCollatorForPreference

ROOT = Path(__file__).resolve().parent.parent.parent
TINY = ROOT / "data" / "models" / "tiny"
OUT = Path(os.environ.get("ORACLES_OUT", ROOT / "tests")) / "fixtures"

TEXT = pa.string()
MESSAGES = pa.list_(pa.struct([("role", TEXT), ("content", TEXT), ("name", TEXT)]))


def say(role, content):
    return {"role": role, "content": content, "name": None}


def user(content):
    return say("user", content)


def assistant(content):
    return say("assistant", content)


PAIRS = [
    {"id": number, "prompt": prompt, "chosen": chosen, "rejected": rejected}
    for number, (prompt, chosen, rejected) in enumerate(
        [
            ("What is an antonym of 'big'?", " Small.", " Large."),
            ("naïve 😀", "\ufeffmarked", "é\u0301"),
            ("a\n\nb", "the same prefix", "the same prefixes"),
            ("a\n\nb", "yes", "no"),
            ("\x00 is a character", "yes", "no"),
        ]  # fmt: skip
    )
]
MESSAGE_PAIRS = [
    {"prompt": [user("Say hello.")], "chosen": [assistant("Hello!")], "rejected": [assistant("Hi.")]},
    {
        "prompt": [say("system", "Be brief."), user("Who?"), assistant("Me."), user("Why?")],
        "chosen": [assistant("So.")],
        "rejected": [assistant("Hm.")],
    },
    {"prompt": [user("Say hello.")], "chosen": [assistant("Hello!")], "rejected": [assistant("Bye.")]},
]
CONVERSATIONS = [
    {name: [*row["prompt"], *row[name]] for name in ("chosen", "rejected")} for row in MESSAGE_PAIRS
]  # fmt: skip
ALPACA = [
    {"instruction": "Translate.", "input": "Hallo", "output": "Hello"},
    {"instruction": "Say hello.", "input": None, "output": "Hello."},
    {"instruction": "Say yes.", "input": "", "output": "Yes."},
]
SFT = [{"messages": row["chosen"]} for row in CONVERSATIONS]
BAD = [
    {"prompt": "a", "chosen": "b", "rejected": "c"}, {"prompt": None, "chosen": "b", "rejected": "c"},
    {"prompt": "a", "chosen": None, "rejected": "c"},
    {"prompt": "a", "chosen": "b", "rejected": ""}, {"prompt": "a", "chosen": "b", "rejected": "b"},
    {"prompt": "d", "chosen": "e", "rejected": "f"},
]  # fmt: skip
BAD_MESSAGES = [
    {"messages": [user("a"), assistant("b")]}, {"messages": None}, {"messages": []}, {"messages": [None]},
    {"messages": [user(None), assistant("b")]},
    {"messages": [user("a"), assistant("")]}, {"messages": [say(None, "a"), assistant("b")]},
    {"messages": [user("c"), assistant("d")]},
]  # fmt: skip


def texts(*names, **others):
    return pa.schema([*((name, kind) for name, kind in others.items()), *((name, TEXT) for name in names)])


def messages(*names):
    return pa.schema([(name, MESSAGES) for name in names])


# name: rows, schema, and how they are written
FILES = {
    "none": (
        PAIRS,
        texts("prompt", "chosen", "rejected", id=pa.int64()),
        {
            "compression": "none",
            "use_dictionary": False,
            "column_encoding": {
                "id": "PLAIN",
                "prompt": "PLAIN",
                "chosen": "DELTA_LENGTH_BYTE_ARRAY",
                "rejected": "DELTA_BYTE_ARRAY",
            },
        },
    ),
    "snappy": (MESSAGE_PAIRS, messages("prompt", "chosen", "rejected"), {"compression": "snappy"}),
    "gzip": (ALPACA, texts("instruction", "input", "output"), {"compression": "gzip", "data_page_version": "2.0"}),
    "zstd": (CONVERSATIONS, messages("chosen", "rejected"), {"compression": "zstd", "data_page_version": "2.0"}),
    "brotli": (SFT, messages("messages"), {"compression": "brotli"}),
    "bad": (BAD, texts("prompt", "chosen", "rejected"), {"compression": "snappy"}),
    "badMessages": (BAD_MESSAGES, messages("messages"), {"compression": "zstd"}),
    "empty": ([], texts("prompt", "chosen", "rejected"), {}),
}


def write_parquet(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, (rows, schema, options) in FILES.items():
        pq.write_table(pa.Table.from_pylist(rows, schema), folder / f"{name}.parquet", row_group_size=2, **options)
    # Bytes that are declared to be text and are not UTF-8, in the second row of three.
    values = pa.array([b"a", b"\xff\xfe", b"b"], pa.binary())
    wrong = pa.Array.from_buffers(TEXT, 3, values.buffers())
    right = pa.array(["c", "d", "e"], TEXT)
    pq.write_table(
        pa.table({"prompt": wrong, "chosen": right, "rejected": pa.array(["f", "g", "h"], TEXT)}),
        folder / "notUtf8.parquet",
    )


def draw_pair(random):
    def words(most):
        return " ".join(
            random.choice(["one", "two", "three", "four", "five", "six"]) for _ in range(random.randint(1, most))
        )

    return {"prompt": words(12), "chosen": " " + words(9), "rejected": " " + words(9)}


def truncation():
    random = randomness.Random(5)
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    max_length = 12
    rows = [draw_pair(random) for _ in range(40)]
    rows = [row for row in rows if row["chosen"] != row["rejected"]]

    def cut(row, mode):
        prompt_ids = tokenizer.encode(row["prompt"])
        if mode == "keep_start" and len(prompt_ids) >= max_length:  # DPOTrainer._prepare_dataset filters these
            return None
        example = {"prompt_ids": prompt_ids} | {
            f"{name}_ids": [*tokenizer.encode(row[name]), tokenizer.eos_token_id] for name in ("chosen", "rejected")
        }
        batch = DataCollatorForPreference(pad_token_id=0, max_length=max_length, truncation_mode=mode)([example])
        return {
            name: {"ids": ids[seen == 1].tolist(), "mask": mask[seen == 1].tolist()}
            for name, ids, mask, seen in zip(
                ("chosen", "rejected"), batch["input_ids"], batch["completion_mask"], batch["attention_mask"]
            )
        }

    return {"maxLength": max_length, "rows": rows} | {
        mode: [cut(row, mode) for row in rows] for mode in ("keep_start", "keep_end")
    }


def main():
    write_parquet(OUT / "parquet")
    made = {
        "files": {name: rows for name, (rows, _, _) in FILES.items()},
        "conversations": [{"whole": row, "extracted": extract_prompt(row)} for row in CONVERSATIONS],
        "truncation": truncation(),
    }
    (OUT / "dataset.json").write_text(json.dumps(made) + "\n")


if __name__ == "__main__":
    main()
