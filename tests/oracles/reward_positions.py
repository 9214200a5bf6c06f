"""Reward models between TRL and here, on the embedded model and the project's preference pairs.

    python tests/oracles/reward_positions.py train MODEL PAIRS OUT   TRL's RewardTrainer, as it comes, on texts; saves
                                                                     OUT as save_model does
    python tests/oracles/reward_positions.py score MODEL PAIRS FILE  the scores that transformers gives to the first 100
                                                                     pairs

PAIRS has rows {"instruction", "input", "chosen", "rejected"}. `score` writes {"asItIs": [[chosen, rejected], …],
"trlPad": …, "tokenizerPad": …}: with the folder's own config, with the end-of-sequence token as pad_token_id (TRL gives
it to GPT-2), and batches as the folder's tokenizer pads them. Every text ends with the end-of-sequence token.
"""

import json
import os
import sys
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"

import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer

PREAMBLE = "Below is an instruction that describes a task.\nWrite a response that appropriately completes the request."


def prompt_of(row):
    given = f"\n\n### Input:\n{row['input']}" if row.get("input") else ""
    return f"{PREAMBLE}\n\n### Instruction:\n{row['instruction']}{given}\n\n### Response:\n"


def pairs_of(path):
    return [
        {"prompt": prompt_of(row), "chosen": row["chosen"], "rejected": row["rejected"]}
        for row in map(json.loads, Path(path).read_text().splitlines())
    ]


def train(model, pairs, out):
    arguments = RewardConfig(
        output_dir=out,
        per_device_train_batch_size=16,
        max_steps=80,
        learning_rate=2e-4,
        warmup_steps=5,
        logging_steps=10,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        bf16=False,
        seed=3,
    )
    trainer = RewardTrainer(model=model, args=arguments, train_dataset=Dataset.from_list(pairs_of(pairs)))
    trainer.train()
    trainer.save_model(out)


def score(folder, pairs, file):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).float().eval()
    rows = pairs_of(pairs)[:100]
    texts = [row["prompt"] + row[side] + tokenizer.eos_token for row in rows for side in ("chosen", "rejected")]
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]

    def in_batches(batch_of):
        scores = []
        with torch.no_grad():
            for start in range(0, len(ids), 20):
                scores += model(**batch_of(start)).logits[:, 0].tolist()
        return [list(pair) for pair in zip(scores[::2], scores[1::2])]

    def padded(start):
        some = ids[start : start + 20]
        longest = max(map(len, some))
        rows = [row + [tokenizer.eos_token_id] * (longest - len(row)) for row in some]
        return {
            "input_ids": torch.tensor(rows),
            "attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in some]),
        }

    made = {
        "asItIs": in_batches(padded),
        "tokenizerPad": in_batches(
            lambda start: tokenizer(texts[start : start + 20], padding=True, return_tensors="pt")
        ),
    }
    model.config.pad_token_id = tokenizer.eos_token_id
    made["trlPad"] = in_batches(padded)
    Path(file).write_text(json.dumps(made))


if __name__ == "__main__":
    torch.manual_seed(0)
    {"train": train, "score": score}[sys.argv[1]](*sys.argv[2:])
