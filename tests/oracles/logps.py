"""Makes tests/fixtures/logps.json: preference rows, and what `npx alignbook logps` should write for them, by
transformers in float64.

python tests/oracles/logps.py               for `tiny`, the kept rows
python tests/oracles/logps.py --seed S DIR  for random GPT-2s of several shapes, each saved by transformers in a folder
                                            of DIR with
                                            its tokenizer, rows.jsonl and expected.json; the first in shards, two in 16
                                            bits
"""

import argparse
import json
import os
import random as randomness
from pathlib import Path

import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

ROOT = Path(__file__).resolve().parent.parent.parent
TINY = ROOT / "data" / "models" / "tiny"
OUT = Path(os.environ.get("ORACLES_OUT", ROOT / "tests"))

ROWS = [
    {"prompt": "What is an antonym of 'complicated'?", "chosen": " Simple.", "rejected": " Complex."},
    {"prompt": "Hello", "chosen": " world", "rejected": " you there, my friend", "id": 7},
    {"prompt": "a", "chosen": "é😀", "rejected": "b"},
    {
        "prompt": "### Instruction:\nSay hello.\n\n### Response:\n",
        "chosen": "Hello to you!",
        "rejected": "Hi.<|endoftext|>",
    },
    {"prompt": "<|endoftext|>", "chosen": "\n", "rejected": "\r\n\t x"},
]
# layers, heads, width, positions, dtype, a shard's greatest size
SHAPES = [
    (2, 2, 32, 64, torch.float32, "2MB"), (1, 1, 8, 40, torch.float32, "1GB"), (3, 3, 21, 50, torch.float32, "1GB"),
    (2, 8, 64, 128, torch.float16, "1GB"), (4, 2, 16, 64, torch.bfloat16, "1GB"),
    (1, 12, 48, 200, torch.float32, "1GB"),
]  # fmt: skip
WORDS = (
    "the of and a to in is Who what why? because, don't I'LL 3.14 1,000 naïve Привет 你好 こんにちは 😀 👩‍🚀 ( ) "
    "\n\n \t --- e\u0301 <|endoftext|>"
).split(" ")


def response(model, tokenizer, prompt_ids, text):
    ids = tokenizer.encode(text)
    ids = ids if ids and ids[-1] == tokenizer.eos_token_id else [*ids, tokenizer.eos_token_id]
    with torch.no_grad():
        logits = model(torch.tensor([prompt_ids + ids])).logits[0]
    logps = torch.log_softmax(logits[len(prompt_ids) - 1 : -1], -1).gather(1, torch.tensor(ids)[:, None])[:, 0]
    return {
        "ids": ids,
        "tokens": [tokenizer.decode([id]) for id in ids],
        "logps": [round(x, 9) for x in logps.tolist()],
        "sum": round(logps.sum().item(), 9),
    }


def expected(model, tokenizer, row):
    prompt_ids = tokenizer.encode(row["prompt"])
    return {"promptIds": prompt_ids} | {
        name: response(model, tokenizer, prompt_ids, row[name]) for name in ("chosen", "rejected")
    }


def draw_text(random, words):
    return random.choice(["", " "]) + "".join(
        random.choice(WORDS) + random.choice(["", " ", " "]) for _ in range(random.randint(1, words))
    )


def draw_rows(random, tokenizer, positions):
    rows = []
    while len(rows) < 12:
        row = {"prompt": draw_text(random, 12), "chosen": draw_text(random, 8), "rejected": draw_text(random, 8)}
        longest = (
            len(tokenizer.encode(row["prompt"]))
            + max(len(tokenizer.encode(row[name])) for name in ("chosen", "rejected"))
            + 1
        )
        if (
            longest <= positions
            and len({*row.values()}) == 3
            and row["chosen"].removesuffix("<|endoftext|>") != row["rejected"].removesuffix("<|endoftext|>")
        ):
            rows.append(row)
    return rows


def save_models(seed, folder, tokenizer):
    random = randomness.Random(seed)
    torch.manual_seed(seed)
    for number, (layers, heads, width, positions, dtype, shard) in enumerate(SHAPES):
        out = folder / str(number)
        config = GPT2Config(
            n_layer=layers,
            n_head=heads,
            n_embd=width,
            n_positions=positions,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
        model = GPT2LMHeadModel(config).eval()
        for name, weight in model.named_parameters():  # wide, so that every part of the forward pass shows
            torch.nn.init.normal_(weight, mean=1.0 if "ln_" in name and name.endswith("weight") else 0.0, std=0.2)
        model = model.to(dtype)
        model.save_pretrained(out, max_shard_size=shard)
        tokenizer.save_pretrained(out)
        rows = draw_rows(random, tokenizer, positions)
        (out / "rows.jsonl").write_text(
            "".join(f"{json.dumps(row, ensure_ascii=random.random() < 0.5)}\n" for row in rows)
        )
        model = model.double()
        (out / "expected.json").write_text(json.dumps([expected(model, tokenizer, row) for row in rows]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("folder", type=Path, nargs="?")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    if options.folder is not None:
        return save_models(options.seed, options.folder, tokenizer)
    model = GPT2LMHeadModel.from_pretrained(TINY, dtype=torch.float64).eval()
    lines = [expected(model, tokenizer, row) for row in ROWS]
    (OUT / "fixtures" / "logps.json").write_text(json.dumps({"rows": ROWS, "lines": lines}, indent=1) + "\n")


if __name__ == "__main__":
    main()
