"""Makes tests/fixtures/plainText.json: plain text for SFT, and rows packed into windows.

    .alignbook/oracles/bin/python tests/oracles/plain_text.py

bins     lengths of rows, and the rows of each window that TRL's pack_dataset (strategy bfd) makes of them
trl      texts, the ids that TRL's SFTTrainer makes of them with the tokenizer of tiny, and 8 steps of its training of
         tiny on them: one text a row, without packing, everything in float32 on one thread. Its loss is a sum over the
         predicted tokens, divided by all tokens of the texts
split    8 steps on texts of which some are longer than the window, written out in PyTorch in float64 on a model of
         tests/fixtures/engine: each piece of a text is computed alone, and the loss of a step is the sum of the
         negative log-probs of its tokens over their number
packed   the same with packing: a step takes the pieces of some of TRL's windows
"""

import json
import os
import random as randomness
import tempfile
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"

import torch
from datasets import Dataset
from order import batches
from training import IN_ORDER, OUT, groups, ids, logits_after, model_of, token_logps
from transformers import AutoTokenizer, GPT2LMHeadModel, get_linear_schedule_with_warmup
from trl import SFTConfig, SFTTrainer, pack_dataset

TINY = Path(__file__).resolve().parent.parent.parent / "data" / "models" / "tiny"
STEPS = 8


def bins(lengths, capacity):
    """Each row's tokens are its own index, so a window says which rows it has."""
    rows = Dataset.from_dict({"input_ids": [[n] * length for n, length in enumerate(lengths)]})
    made = pack_dataset(rows, seq_length=capacity, strategy="bfd", map_kwargs={"batch_size": len(lengths)})
    windows = []
    for window, seq_lengths in zip(made["input_ids"], made["seq_lengths"]):
        starts = [sum(seq_lengths[:n]) for n in range(len(seq_lengths))]
        windows.append([window[start] for start in starts])
    return windows


def all_bins():
    random = randomness.Random(41)
    cases = [
        ([4, 2, 3, 1], 4),
        ([3, 3, 3, 3, 3], 9),
        ([5], 5),
        ([1] * 10, 3),
        ([random.randint(1, 40) for _ in range(300)], 40),
        ([min(64, 1 + int(random.expovariate(0.08))) for _ in range(500)], 64),
        ([random.randint(100, 1024) for _ in range(200)], 1024),
    ]
    return [{"lengths": lengths, "capacity": capacity, "bins": bins(lengths, capacity)} for lengths, capacity in cases]


TEXTS = [
    "The cat sat on the mat.\n",
    "Once upon a time there was a king who had three daughters; the youngest was the fairest of them all.",
    "naïve 😀 words",
    "a",
    "One.\n\nTwo.\n\nThree.\n",
    "What is an antonym of 'big'? Small.",
    "    indented    text\twith tabs   ",
    "It ends by itself.<|endoftext|>",
    "First part.<|endoftext|>Second part.",
    "0123456789 and 3.14159",
]


def trl():
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    model = GPT2LMHeadModel.from_pretrained(
        TINY, dtype=torch.float32, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, attn_implementation="eager"
    )
    arguments = {name: value for name, value in IN_ORDER.items() if name not in ("max_length", "disable_dropout")}
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(
                output_dir=folder,
                **arguments,
                max_length=256,
                per_device_train_batch_size=4,
                max_steps=STEPS,
                learning_rate=1e-3,
                lr_scheduler_type="linear",
                warmup_steps=2,
                weight_decay=0.01,
                adam_epsilon=1e-6,
                max_grad_norm=1.0,
            ),
            train_dataset=Dataset.from_list([{"text": text} for text in TEXTS * 4][:32]),
            processing_class=tokenizer,
        )
        rows = [list(row) for row in trainer.train_dataset["input_ids"]]
        trainer.train()
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    names = {
        "loss": "loss",
        "gradNorm": "grad_norm",
        "lr": "learning_rate",
        "entropy": "entropy",
        "meanTokenAccuracy": "mean_token_accuracy",
    }
    return {
        "texts": TEXTS,
        "ids": rows[: len(TEXTS)],
        "steps": [{ours: entry[theirs] for ours, theirs in names.items()} for entry in history],
    }


VOCABULARY, WINDOW, LONGEST = 37, 12, 30


def pieces(text, window):
    """Every token but the first is predicted once, in pieces of at most `window` tokens."""
    made, at = [], 1
    while at < len(text):
        made.append(text[at - 1 : at - 1 + window])
        at += window - 1
    assert sum(len(piece) - 1 for piece in made) == len(text) - 1
    return made


def walk(texts, batch_size, packing):
    model = model_of("a-group").double()
    rows = [piece for text in texts for piece in pieces(text, WINDOW)]
    windows = bins([len(row) for row in rows], WINDOW) if packing else [[n] for n in range(len(rows))]
    order = batches(len(windows), batch_size, STEPS, seed=3)
    optimizer = torch.optim.AdamW(groups(model, 0.1), lr=0.01, betas=(0.9, 0.98), eps=1e-4)
    schedule = get_linear_schedule_with_warmup(optimizer, 2, STEPS)
    steps = []
    for batch in order:
        taken = [rows[row] for window in batch for row in windows[window]]
        logps = torch.cat([token_logps(model, row[:1], row[1:]) for row in taken])
        loss = -logps.sum() / len(logps)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        steps.append(
            {
                "loss": loss.item(),
                "gradNorm": norm.item(),
                "lr": optimizer.param_groups[0]["lr"],
                "tokens": len(logps),
                "rows": len(taken),
            }
        )
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        after = torch.cat([token_logps(model, row[:1], row[1:]) for row in rows])
    return {
        "batchSize": batch_size,
        "windows": len(windows),
        "steps": steps,
        "lossAfter": -after.mean().item(),
        "last": logits_after(model, rows[0][:3]),
    }


def main():
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(43)
    random = randomness.Random(43)
    lengths = [random.choice([1, 2, 3, 4, 5, 7, 11, LONGEST]) for _ in range(40)]
    texts = [[*ids(generator, VOCABULARY, length), 0] for length in lengths]
    made = {
        "bins": all_bins(),
        "trl": trl(),
        "texts": texts,
        "maxLength": WINDOW,
        "split": walk(texts, 6, False),
        "packed": walk(texts, 4, True),
    }
    (OUT / "fixtures" / "plainText.json").write_text(json.dumps(made) + "\n")


if __name__ == "__main__":
    main()
