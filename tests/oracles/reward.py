"""Makes tests/fixtures/reward: reward models in PyTorch and TRL, on the models and prompts of tests/fixtures/engine.

    .alignbook/oracles/bin/python tests/oracles/reward.py

saved/ is a small GPT2ForSequenceClassification as save_pretrained writes it. reward.json holds

  models       for each of some models, scores of its rows' responses, each computed alone, and a weight for each;
               gradients.safetensors
               has the gradient of sum(weight * score), in float64, rounded to float32
  trainings    20 steps of TRL's own RewardTrainer, without and with margins and centering, float32, one thread;
               trained.safetensors
               has the weights at the end. TRL takes the score at the last token that is not padding: t22, which pads,
               occurs nowhere else.
  calibration  margins, and the two measures of them by their definitions, each pair in both orders
  begin        the library's first normal numbers from a seed, by order.py
  positions    scores of one model by its config's pad_token_id: null, its end-of-sequence token (TRL's choice for
               GPT-2) and another id. With
               an id, all rows are padded with it into one batch; without, which transformers takes in batches of one
               only, each is alone
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"

import torch
from datasets import Dataset
from order import Random
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from training import IN_ORDER, ids
from transformers import GPT2Config, GPT2ForSequenceClassification, PreTrainedTokenizerFast
from trl import RewardConfig, RewardTrainer

OUT = Path(os.environ.get("ORACLES_OUT", Path(__file__).resolve().parent.parent))
ENGINE = OUT / "fixtures" / "engine"
FOLDER = OUT / "fixtures" / "reward"
MODELS = ("one-head", "five-layers", "width-21", "a-group", "repeated-ids")


def model_of(name, seed, **more):
    """The engine's model of that name, with a head of its own."""
    sizes = json.loads((ENGINE / f"{name}.json").read_text())["config"]
    config = GPT2Config(
        **sizes,
        **{
            "bos_token_id": 0,
            "eos_token_id": 0,
            "num_labels": 1,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
            **more,
        },
    )
    config._attn_implementation = "eager"
    model = GPT2ForSequenceClassification(config)
    weights = {
        f"transformer.{key[7:]}": value
        for key, value in load_file(ENGINE / f"{name}.safetensors").items()
        if key.startswith("weight.")
    }
    weights["score.weight"] = 0.5 * torch.randn(1, config.n_embd, generator=torch.Generator().manual_seed(seed))
    model.load_state_dict(weights)
    return model.eval()


def named(prefix, model, value):
    return {
        f"{prefix}/{key.removeprefix('transformer.')}": value(weight).detach().float()
        for key, weight in model.named_parameters()
    }


def scored(name, tensors):
    model = model_of(name, 31)
    tensors[f"{name}/head"] = model.score.weight.detach().clone()
    model = model.double()
    rows = json.loads((ENGINE / f"{name}.json").read_text())["rows"]
    scores = torch.cat(
        [model(torch.tensor([row["promptIds"] + response])).logits[0] for row in rows for response in row["responses"]]
    )
    weights = [
        round(weight, 4) for weight in torch.randn(len(scores), generator=torch.Generator().manual_seed(32)).tolist()
    ]
    (torch.tensor(weights).double() * scores).sum().backward()
    tensors |= named(f"{name}/gradient", model, lambda weight: weight.grad)
    return {"scores": scores.tolist(), "weights": weights}


def saved():
    model = model_of("one-head", 31, pad_token_id=None)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        (FOLDER / "saved").mkdir(parents=True, exist_ok=True)
        for file in ("config.json", "model.safetensors"):
            shutil.copy(Path(folder) / file, FOLDER / "saved" / file)


def pairs_of(count):
    generator = torch.Generator().manual_seed(33)
    some = lambda length: ids(generator, 22, length)
    return [
        {
            "promptIds": some(2 + n % 4),
            "chosenIds": some(1 + n % 5) + [0],
            "rejectedIds": some(1 + n % 3) + [0],
            "margin": round(n % 7 / 5, 1),
        }
        for n in range(count)
    ]


def trained(pairs, margins, center_rewards, tensors, name):
    model = model_of("one-head", 34)
    tokenizer = Tokenizer(models.WordLevel({f"t{n}": n for n in range(23)}, unk_token="t0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="t0", pad_token="t22", unk_token="t0")
    rows = [
        {
            "chosen_ids": pair["promptIds"] + pair["chosenIds"],
            "rejected_ids": pair["promptIds"] + pair["rejectedIds"],
            **({"margin": pair["margin"]} if margins else {}),
        }
        for pair in pairs
    ]
    tensors[f"{name}/head"] = model.score.weight.detach().clone()
    with tempfile.TemporaryDirectory() as folder:
        arguments = RewardConfig(
            output_dir=folder,
            **IN_ORDER,
            per_device_train_batch_size=8,
            max_steps=20,
            learning_rate=3e-3,
            lr_scheduler_type="linear",
            warmup_steps=5,
            weight_decay=0.01,
            adam_epsilon=1e-4,
            max_grad_norm=1.0,
            center_rewards_coefficient=center_rewards,
        )
        trainer = RewardTrainer(
            model=model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=fast
        )
        trainer.train()
    tensors |= named(name, trainer.model, lambda weight: weight)
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    names = {
        "loss": "loss",
        "gradNorm": "grad_norm",
        "lr": "learning_rate",
        "accuracy": "accuracy",
        "margin": "margin",
        "meanScore": "mean_reward",
    }
    return {
        "margins": margins,
        "centerRewards": center_rewards or 0.0,
        "steps": [{ours: entry[theirs] for ours, theirs in names.items()} for entry in history],
    }


def positions():
    """Rows that end once, twice, not at all, or hold nothing but the token that is padded with."""
    rows = [
        {"promptIds": [5, 6, 7], "responses": [[8, 9, 0], [8, 9], [8, 0, 0], [0]]},
        {"promptIds": [3], "responses": [[0, 4, 0], [0, 0]]},
        {"promptIds": [0, 0], "responses": [[0, 0], [22, 0], [22, 22]]},
        {"promptIds": [11, 0, 12, 0], "responses": [[0], [22], [13, 14]]},
    ]
    texts = [row["promptIds"] + response for row in rows for response in row["responses"]]
    longest = max(map(len, texts))
    scores = {}
    for pad in (None, 0, 22):
        model = model_of("a-group", 31, pad_token_id=pad).double()
        batches = (
            [[text] for text in texts] if pad is None else [[text + [pad] * (longest - len(text)) for text in texts]]
        )
        with torch.no_grad():
            scores[json.dumps(pad)] = [
                score for batch in batches for score in model(torch.tensor(batch)).logits[:, 0].tolist()
            ]
    return {"model": "a-group", "rows": rows, "scores": scores}


def calibrated():
    """Each pair in both orders: the probability that the first answer is the chosen one, in ten bins, and whether it
    is."""
    generator = torch.Generator().manual_seed(35)
    margins = [round(margin, 4) for margin in (1 + 2 * torch.randn(200, generator=generator)).tolist()]
    probabilities = torch.sigmoid(torch.tensor([sign * margin for margin in margins for sign in (1, -1)]).double())
    outcomes = torch.tensor([1.0, 0.0] * len(margins)).double()
    error = 0
    for low in range(10):
        inside = (probabilities >= low / 10) & (probabilities < (low + 1) / 10)
        if inside.any():
            error += inside.double().mean() * (probabilities[inside].mean() - outcomes[inside].mean()).abs()
    return {
        "margins": margins,
        "calibrationError": error.item(),
        "brier": ((probabilities - outcomes) ** 2).mean().item(),
    }


def main():
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    saved()
    gradients, weights, random, pairs = {}, {}, Random(5), pairs_of(160)
    made = {
        "models": {name: scored(name, gradients) for name in MODELS},
        "pairs": pairs,
        "trainings": {
            "plain": trained(pairs, False, None, weights, "plain"),
            "margins": trained(pairs, True, 0.05, weights, "margins"),
        },
        "positions": positions(),
        "calibration": calibrated(),
        "begin": {"seed": 5, "normals": [random.normal() for _ in range(10)]},
    }
    save_file(gradients, FOLDER / "gradients.safetensors")
    save_file(weights, FOLDER / "trained.safetensors")
    (FOLDER / "reward.json").write_text(json.dumps(made) + "\n")


if __name__ == "__main__":
    main()
