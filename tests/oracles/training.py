"""Makes tests/fixtures/training.json: training in PyTorch and TRL, step by step, on the models of
tests/fixtures/engine.

    .alignbook/oracles/bin/python tests/oracles/training.py

SFT is written out (mean negative log-prob over the batch's response tokens, AdamW with decay on matrices, clipping,
schedules from transformers), of all weights, of some, and of LoRA's adapters. DPO is TRL's own DPOTrainer: 50 steps on
fixed data in a fixed order, everything in float32 on one thread.
"""

import json
import os
import tempfile
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"

import torch
from datasets import Dataset
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)
from trl import DPOConfig, DPOTrainer

OUT = Path(os.environ.get("ORACLES_OUT", Path(__file__).resolve().parent.parent))
ENGINE = OUT / "fixtures" / "engine"


def model_of(name):
    sizes = json.loads((ENGINE / f"{name}.json").read_text())["config"]
    model = GPT2LMHeadModel(
        GPT2Config(
            **sizes,
            bos_token_id=0,
            eos_token_id=0,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            attn_implementation="eager",
        )
    )
    weights = {
        f"transformer.{key[7:]}": value
        for key, value in load_file(ENGINE / f"{name}.safetensors").items()
        if key.startswith("weight.")
    }
    model.load_state_dict(weights, strict=False)
    model.tie_weights()
    return model.eval()


def groups(model, decay):
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    return [
        {"params": [weight for weight in trained if weight.dim() > 1], "weight_decay": decay},
        {"params": [weight for weight in trained if weight.dim() == 1], "weight_decay": 0.0},
    ]


def ids(generator, vocabulary, length):
    return torch.randint(1, vocabulary, (length,), generator=generator).tolist()


def token_logps(model, prompt, response):
    sequence = torch.tensor([prompt + response])
    return torch.log_softmax(model(sequence).logits[0, :-1], -1).gather(1, sequence[0, 1:, None])[len(prompt) - 1 :, 0]


def sft(frozen=()):
    model = model_of("a-group").double()
    for name, weight in model.transformer.named_parameters():
        weight.requires_grad = not name.startswith(frozen)
    return walk(model)


def walk(model):
    generator = torch.Generator().manual_seed(21)
    rows = [
        {"promptIds": ids(generator, 37, 3 + n % 4), "responses": [ids(generator, 37, 2 + n % 5)]} for n in range(6)
    ]
    order = [[0, 1, 2, 3], [4, 5, 0, 1], [2, 3, 4, 5], [5, 3, 1, 0], [2, 4, 0, 5]]
    optimizer = torch.optim.AdamW(groups(model, 0.1), lr=0.01, betas=(0.9, 0.98), eps=1e-4)
    schedule = get_cosine_schedule_with_warmup(optimizer, 2, 5)
    steps = []
    for batch in order:
        logps = [token_logps(model, rows[row]["promptIds"], rows[row]["responses"][0]) for row in batch]
        loss = -torch.cat(logps).mean()
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        lr = optimizer.param_groups[0]["lr"]
        optimizer.step()
        schedule.step()
        steps.append({"loss": loss.item(), "gradNorm": norm.item(), "lr": lr, "tokens": sum(map(len, logps))})
    return {"rows": rows, "order": order, "steps": steps, "last": logits_after(model, rows[0]["promptIds"])}


LORA = {"rank": 3, "alpha": 5.0, "targets": ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]}


class Adapted(torch.nn.Module):
    """x (W + s A B) + b, arXiv 2106.09685."""

    def __init__(self, linear, generator):
        super().__init__()
        self.linear, (rows, columns) = linear, linear.weight.shape
        self.A = torch.nn.Parameter((0.3 * torch.randn(rows, LORA["rank"], generator=generator)).double())
        self.B = torch.nn.Parameter((0.3 * torch.randn(LORA["rank"], columns, generator=generator)).double())

    def forward(self, x):
        return x @ (self.linear.weight + LORA["alpha"] / LORA["rank"] * self.A @ self.B) + self.linear.bias


def lora():
    """As `sft`, but that only adapters are trained, which begin with random A and B."""
    model = model_of("a-group").double().requires_grad_(False)
    generator = torch.Generator().manual_seed(23)
    adapters = {}
    for layer, block in enumerate(model.transformer.h):
        for target in LORA["targets"]:
            part, name = target.split(".")
            adapters[f"h.{layer}.{target}"] = Adapted(getattr(getattr(block, part), name), generator)
            setattr(getattr(block, part), name, adapters[f"h.{layer}.{target}"])
    begin = {
        f"{name}.lora_{side}": getattr(adapter, side).flatten().tolist()
        for name, adapter in adapters.items()
        for side in "AB"
    }
    return {**walk(model), **LORA, "begin": begin}


def logits_after(model, prompt):
    with torch.no_grad():
        return model(torch.tensor([prompt])).logits[0, -1].tolist()


def text(numbers):
    return " ".join(f"t{n}" for n in numbers)


def word_tokenizer(vocabulary):
    """Ids go through TRL as words "t1 t2 …" of a tokenizer whose vocabulary is just the ids."""
    tokenizer = Tokenizer(models.WordLevel({f"t{n}": n for n in range(vocabulary)}, unk_token="t0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="t0", pad_token="t0", unk_token="t0")


# every step logged, rows in the order given, float32 on the CPU, nothing random, nothing saved
IN_ORDER = {
    "logging_steps": 1,
    "use_cpu": True,
    "report_to": [],
    "save_strategy": "no",
    "bf16": False,
    "fp16": False,
    "gradient_checkpointing": False,
    "max_length": 16,
    "disable_dropout": True,
    "train_sampling_strategy": "sequential",
}


def dpo():
    model, vocabulary = model_of("one-head"), 23
    generator = torch.Generator().manual_seed(22)
    pairs = [
        {
            "promptIds": ids(generator, vocabulary, 2 + n % 4),
            "chosenIds": ids(generator, vocabulary, 1 + n % 5) + [0],
            "rejectedIds": ids(generator, vocabulary, 1 + n % 3) + [0],
        }
        for n in range(400)
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
    with tempfile.TemporaryDirectory() as folder:
        arguments = DPOConfig(
            output_dir=folder,
            **IN_ORDER,
            beta=0.1,
            per_device_train_batch_size=8,
            max_steps=50,
            learning_rate=3e-3,
            lr_scheduler_type="linear",
            warmup_steps=5,
            weight_decay=0.01,
            adam_epsilon=1e-4,
            max_grad_norm=1.0,
        )
        trainer = DPOTrainer(
            model=model,
            ref_model=model_of("one-head"),
            args=arguments,
            train_dataset=data,
            processing_class=word_tokenizer(vocabulary),
        )
        trainer.train()
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    names = {
        "loss": "loss",
        "gradNorm": "grad_norm",
        "lr": "learning_rate",
        "chosen": "rewards/chosen",
        "rejected": "rewards/rejected",
        "margins": "rewards/margins",
        "accuracies": "rewards/accuracies",
        "logpsChosen": "logps/chosen",
        "logpsRejected": "logps/rejected",
        "entropy": "entropy",
        "meanTokenAccuracy": "mean_token_accuracy",
    }
    return {"pairs": pairs, "steps": [{ours: entry[theirs] for ours, theirs in names.items()} for entry in history]}


def schedules():
    made = []
    for schedule, make, warmup, steps in [
        ("linear", get_linear_schedule_with_warmup, 0, 7),
        ("linear", get_linear_schedule_with_warmup, 3, 10),
        ("cosine", get_cosine_schedule_with_warmup, 2, 9),
        ("cosine", get_cosine_schedule_with_warmup, 0, 4),
    ]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
        scheduler = make(optimizer, warmup, steps)
        rates = []
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        made.append(
            {"options": {"lr": 0.3, "steps": steps, "warmupSteps": warmup, "schedule": schedule}, "rates": rates}
        )
    return made


if __name__ == "__main__":
    torch.set_num_threads(1)
    fixtures = {
        "schedules": schedules(),
        "sft": sft(),
        "frozen": sft(("wte", "wpe", "h.0.", "h.1.mlp")),
        "lora": lora(),
        "dpo": dpo(),
    }
    (OUT / "fixtures" / "training.json").write_text(json.dumps(fixtures) + "\n")
