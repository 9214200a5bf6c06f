"""Makes tests/fixtures/settings.json: what transformers, TRL and torch do at the ends of their settings' ranges.

    .alignbook/oracles/bin/python tests/oracles/settings.py

Learning rates come from transformers' get_scheduler: a warm-up as long as the run or longer, a single step, a share of
lr at the end. DPO is TRL's DPOTrainer, four steps with max_grad_norm 0, 0.5 and the default of 1, on a model of
tests/fixtures/engine. The first step is a warm-up's, whose learning rate is 0. AdamW is torch's with eps 0 and a
gradient of 0 beside one of 1. The rest is what README's "Where it differs" says of label smoothing, whole texts,
prompts that end within a token, dropout and top-k.
"""

import json
import os
import tempfile
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"

import torch
from datasets import Dataset
from tokenizers import Tokenizer
from training import IN_ORDER, OUT, ids, logits_after, model_of, text, word_tokenizer
from transformers import GenerationConfig, GPT2Config, Trainer, TrainingArguments, get_scheduler
from trl import DPOConfig, DPOTrainer, GRPOConfig, RewardConfig, RLOOConfig, SFTConfig
from trl.data_utils import common_prefix_length
from trl_losses import trl_dpo

SCHEDULES = [
    ("linear", "linear", 7, 4, 0.0), ("linear", "linear", 4, 4, 0.0), ("linear", "linear", 1, 1, 0.0),
    ("cosine", "cosine", 6, 3, 0.0),
    ("constant", "constant_with_warmup", 3, 5, 0.0), ("constant", "constant_with_warmup", 5, 3, 0.0),
    ("cosine", "cosine_with_min_lr", 2, 8, 0.2), ("cosine", "cosine_with_min_lr", 0, 5, 1.0),
]  # fmt: skip


def schedules():
    made = []
    for ours, theirs, warmup, steps, share in SCHEDULES:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
        more = {"scheduler_specific_kwargs": {"min_lr_rate": share}} if theirs == "cosine_with_min_lr" else {}
        scheduler = get_scheduler(theirs, optimizer, num_warmup_steps=warmup, num_training_steps=steps, **more)
        rates = []
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        made.append(
            {
                "options": {"lr": 0.3, "steps": steps, "warmupSteps": warmup, "schedule": ours, "minLrRatio": share},
                "rates": rates,
            }
        )
    return made


def clipping():
    """An epsilon as large as the gradients: with a small one AdamW's steps are much the same at any norm."""
    generator = torch.Generator().manual_seed(31)
    pairs = [
        {
            "promptIds": ids(generator, 23, 2 + n % 4),
            "chosenIds": ids(generator, 23, 1 + n % 5) + [0],
            "rejectedIds": ids(generator, 23, 1 + n % 3) + [0],
        }
        for n in range(16)
    ]
    data = Dataset.from_list(
        [
            {
                "prompt": text(pair["promptIds"]),
                "chosen": " " + text(pair["chosenIds"][:-1]),
                "rejected": " " + text(pair["rejectedIds"][:-1]),
            }
            for pair in pairs
        ]
    )
    runs = []
    for norm in (0.0, 0.5, 1.0):
        model = model_of("one-head")
        with tempfile.TemporaryDirectory() as folder:
            arguments = DPOConfig(
                output_dir=folder,
                **IN_ORDER,
                beta=2.0,
                per_device_train_batch_size=4,
                max_steps=4,
                learning_rate=0.03,
                lr_scheduler_type="linear",
                warmup_steps=1,
                weight_decay=0.0,
                adam_epsilon=0.5,
                max_grad_norm=norm,
            )
            trainer = DPOTrainer(
                model=model,
                ref_model=model_of("one-head"),
                args=arguments,
                train_dataset=data,
                processing_class=word_tokenizer(23),
            )
            trainer.train()
        steps = [
            {"loss": entry["loss"], "gradNorm": entry["grad_norm"], "lr": entry["learning_rate"]}
            for entry in trainer.state.log_history
            if "loss" in entry
        ]
        runs.append({"maxGradNorm": norm, "steps": steps, "last": logits_after(model.eval(), pairs[0]["promptIds"])})
    return {"pairs": pairs, "runs": runs}


def adamw():
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    weight.grad = torch.tensor([1.0, 0.0])
    torch.optim.AdamW([weight], lr=0.1, eps=0.0, weight_decay=0.0).step()
    return ["nan" if value != value else value for value in weight.tolist()]


def smoothing():
    """sigmoid and robust of one pair with a margin of 20 nats, beta 0.1 and label_smoothing 0.3, by DPOTrainer's own
    loss."""
    one = lambda x: torch.tensor([float(x)], dtype=torch.float64)
    inputs = {
        "policyChosenLogps": one(-12),
        "policyRejectedLogps": one(-9),
        "refChosenLogps": one(-20),
        "refRejectedLogps": one(3),
        "chosenLengths": one(6),
        "rejectedLengths": one(2),
    }
    return {loss: trl_dpo(inputs, [loss], beta=0.1, label_smoothing=0.3).item() for loss in ("sigmoid", "robust")}


def whole_texts():
    """transformers' Trainer on two rows of four tokens, all of them labels, and the mean that the model itself
    gives."""
    model, rows = model_of("one-head"), [[3, 7, 11, 2], [5, 1, 19, 8]]
    with torch.no_grad():
        mean = model(input_ids=torch.tensor(rows), labels=torch.tensor(rows)).loss.item()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=1,
            per_device_train_batch_size=2,
            learning_rate=0.0,
            logging_steps=1,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list([{"input_ids": row, "labels": row} for row in rows]),
        )
        trainer.train()
    return {"rows": rows, "mean": mean, "trainer": trainer.state.log_history[0]["loss"]}


def boundary():
    """Where TRL's DPOTrainer and SFTTrainer let a response begin: after the ids that the prompt shares with prompt and
    response together."""
    tokenizer = Tokenizer.from_file(
        str(Path(__file__).resolve().parents[2] / "data" / "models" / "tiny" / "tokenizer.json")
    )
    made = []
    for prompt, response in (("Say hel", "lo there"), ("Who? ", "Me"), ("Who?", " Me")):
        apart, together = tokenizer.encode(prompt).ids, tokenizer.encode(prompt + response).ids
        shared = common_prefix_length(apart, together)
        made.append(
            {
                "prompt": prompt,
                "response": response,
                "apart": [apart, tokenizer.encode(response).ids],
                "trl": [together[:shared], together[shared:]],
            }
        )
    return made


def defaults():
    arguments = dict(output_dir="unused", use_cpu=True, bf16=False)
    dropout = {
        name: getattr(config(**arguments), "disable_dropout", False)
        for name, config in (
            ("SFT", SFTConfig),
            ("DPO", DPOConfig),
            ("Reward", RewardConfig),
            ("GRPO", GRPOConfig),
            ("RLOO", RLOOConfig),
        )
    }
    return {
        "dropoutDisabled": dropout,
        "gpt2Dropout": GPT2Config().resid_pdrop,
        "topK": GenerationConfig._get_default_generation_params()["top_k"],
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    fixtures = {
        "schedules": schedules(),
        "clipping": clipping(),
        "adamwWithoutEpsilon": adamw(),
        "smoothing": smoothing(),
        "wholeTexts": whole_texts(),
        "boundary": boundary(),
        "defaults": defaults(),
    }
    (OUT / "fixtures" / "settings.json").write_text(json.dumps(fixtures) + "\n")
