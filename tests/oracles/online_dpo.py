"""Makes tests/fixtures/online_dpo.json: ten steps of TRL 1.16's OnlineDPOTrainer on given responses and rewards, in
float32, and what judges are summarized by, written out in float64.

    .alignbook/oracles/bin/python tests/oracles/online_dpo.py

Policy and reference begin as one-head of tests/fixtures/engine. Each step has three prompts with two responses each;
TRL's generation is replaced by these. In the second run TRL's SyncRefModelCallback averages the reference every three
steps. TRL logs its loss with four digits, and its KL with the padding; so the loss is what `training_step` returns, and
the KL is summed here over the responses' own tokens.

Wilson's interval, Cohen's kappa and the logistic regression are computed from their definitions; the regression by
PyTorch's LBFGS, its interval from PyTorch's Hessian.
"""

import json
import math
import os
import tempfile
from pathlib import Path
from statistics import NormalDist

os.environ["TQDM_DISABLE"] = "1"
os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import torch
from datasets import Dataset
from ppo_step import EOS, plain
from training import logits_after, model_of, text, word_tokenizer
from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer
from trl.trainer.callbacks import SyncRefModelCallback
from trl_rollouts import ALONE, adamw, batch_inputs, draws, place_by_mask

OUT = Path(os.environ.get("ORACLES_OUT", Path(__file__).resolve().parent.parent))
VOCABULARY = 23
STEPS, PROMPTS = 10, 3
OPTIONS = {
    "maxNewTokens": 8,
    "missingEosPenalty": 1.5,
    "lr": 2e-3,
    "beta1": 0.9,
    "beta2": 0.99,
    "epsilon": 1e-4,
    "weightDecay": 0.01,
    "maxGradNorm": 0.5,
}
RUNS = [{"loss": "sigmoid", "beta": 0.3}, {"loss": "ipo", "beta": 0.5, "referenceEvery": 3, "referenceAlpha": 0.6}]
LOGGED = {
    "gradNorm": "grad_norm",
    "chosen": "rewards/chosen",
    "rejected": "rewards/rejected",
    "margins": "rewards/margins",
    "accuracies": "rewards/accuracies",
    "logpsChosen": "logps/chosen",
    "logpsRejected": "logps/rejected",
    "scores": "objective/scores",
    "scoresMargin": "objective/scores_margin",
    "ended": "val/contain_eos_token",
}


def scripted():
    """Rows prompt after prompt, two responses each; no two rewards of a prompt are equal after the penalty."""
    integer, ids, response = draws(47, VOCABULARY, EOS)
    return [
        [
            {"promptIds": prompt, "responseIds": response(), "reward": integer(0, 9) / 4 + first / 10}
            for prompt in [ids(integer(2, 7)) for _ in range(PROMPTS)]
            for first in (0, 1)
        ]
        for _ in range(STEPS)
    ]


def run(folder, steps, options):
    """TRL has all first responses before all second ones."""
    script = iter([step[0::2] + step[1::2] for step in steps])
    rows, forwards, made = [], [], []

    def generate(*_):
        rows[:] = next(script)
        batch = batch_inputs(rows)
        return *(batch[key] for key in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")), None

    arguments = OnlineDPOConfig(
        output_dir=f"{folder}/run",
        per_device_train_batch_size=PROMPTS,
        gradient_accumulation_steps=1,
        max_steps=STEPS,
        loss_type=options["loss"],
        beta=options["beta"],
        missing_eos_penalty=OPTIONS["missingEosPenalty"],
        max_new_tokens=OPTIONS["maxNewTokens"],
        max_length=32,
        **adamw(OPTIONS),
        **ALONE,
    )
    trainer = OnlineDPOTrainer(
        model=model_of("one-head"),
        reward_funcs=lambda completions, **_: [row["reward"] for row in rows],
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": text([1 + n])} for n in range(PROMPTS * STEPS)]),
        processing_class=word_tokenizer(VOCABULARY),
    )
    for model in (trainer.model, trainer.ref_model):
        place_by_mask(model)
    if "referenceEvery" in options:
        arguments.ref_model_sync_steps = options["referenceEvery"]
        arguments.ref_model_mixup_alpha = options["referenceAlpha"]
        trainer.add_callback(SyncRefModelCallback(trainer.ref_model, trainer.accelerator))
    trainer._generate = generate
    forward, training_step = trainer._forward, trainer.training_step

    def kept_forward(*given):
        forwards.append(forward(*given))
        return forwards[-1]

    def kept_step(*given, **named):
        forwards.clear()
        loss = training_step(*given, **named)
        policy, reference = (logps.detach() for logps in forwards)
        mask = batch_inputs(rows)["completion_mask"]
        made.append({"loss": loss.item(), "sequenceKl": ((policy - reference) * mask).sum(1).mean().item()})
        return loss

    trainer._forward, trainer.training_step = kept_forward, kept_step
    trainer.train()
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    taken = [
        {**own, **{ours: entry[theirs] for ours, theirs in LOGGED.items()}}
        for own, entry in zip(made, history, strict=True)
    ]
    return {**options, "steps": taken, "last": logits_after(trainer.model, steps[0][0]["promptIds"])}


Z = NormalDist().inv_cdf(0.975)
VERDICT = {"a": 1.0, "tie": 0.5, "b": 0.0}


def wilson(winners):
    """The p with |rate - p| = z sqrt(p (1 - p) / n), by bisection instead of the closed form."""
    n = len(winners)
    rate = sum(VERDICT[winner] for winner in winners) / n

    def bound(outer):
        inside, outside = rate, outer
        for _ in range(200):
            middle = (inside + outside) / 2
            near = abs(rate - middle) <= Z * math.sqrt(middle * (1 - middle) / n)
            inside, outside = (middle, outside) if near else (inside, middle)
        return inside

    return {"winners": winners, "rate": rate, "low": bound(0.0), "high": bound(1.0)}


def length_controlled(outcomes):
    y = torch.tensor([VERDICT[one["winner"]] for one in outcomes], dtype=torch.float64)
    difference = torch.tensor([one["lengthA"] - one["lengthB"] for one in outcomes], dtype=torch.float64)
    x = torch.tanh(difference / difference.square().mean().sqrt())

    def objective(point):
        logits = point[0] + point[1] * x
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="sum") + point[1] ** 2 / 2

    point = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [point], max_iter=500, tolerance_grad=1e-13, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        value = objective(point)
        value.backward()
        return value

    optimizer.step(closure)
    theta, phi = point.detach()
    error = torch.linalg.inv(torch.autograd.functional.hessian(objective, point.detach()))[0, 0].sqrt()
    rate, low, high = (torch.sigmoid(theta + shift * error).item() for shift in (0, -Z, Z))
    return {"outcomes": outcomes, "rate": rate, "low": low, "high": high, "lengthEffect": phi.item()}


def kappa(one, other):
    """From the table of both judges' verdicts."""
    names = ["a", "b", "tie"]
    table = torch.zeros(3, 3, dtype=torch.float64)
    for first, second in zip(one, other):
        table[names.index(first), names.index(second)] += 1 / len(one)
    chance = (table.sum(0) * table.sum(1)).sum()
    agreement = table.diagonal().sum()
    return {
        "one": one,
        "other": other,
        "agreement": agreement.item(),
        "byChance": chance.item(),
        "kappa": ((agreement - chance) / (1 - chance)).item(),
    }


def summaries():
    generator = torch.Generator().manual_seed(53)
    draw = lambda weights: ["a", "b", "tie"][torch.multinomial(torch.tensor(weights), 1, generator=generator).item()]
    outcomes = []
    for _ in range(120):
        lengths = torch.randint(1, 60, (2,), generator=generator).tolist()
        longer = 1 / (1 + math.exp(-0.3 - (lengths[0] - lengths[1]) / 15))  # the judge likes long responses
        outcomes.append(
            {"winner": draw([0.9 * longer, 0.9 * (1 - longer), 0.1]), "lengthA": lengths[0], "lengthB": lengths[1]}
        )
    one = [draw([0.5, 0.3, 0.2]) for _ in range(60)]
    other = [winner if draw([0.6, 0.4, 0.0]) == "a" else draw([0.2, 0.5, 0.3]) for winner in one]
    separated = [{"winner": "a" if n % 3 else "b", "lengthA": 10 if n % 3 else 1, "lengthB": 5} for n in range(12)]
    return {
        "wilson": [wilson(["a"]), wilson(["tie", "tie"]), wilson(["b"] * 8), wilson(one)],
        "lengthControlled": [length_controlled(outcomes), length_controlled(separated)],
        "kappa": [kappa(one, other), kappa(["a", "b"], ["b", "a"])],
    }


def main():
    steps = scripted()
    with tempfile.TemporaryDirectory() as folder:
        runs = [run(folder, steps, options) for options in RUNS]
    fixture = {"options": OPTIONS, "rollouts": steps, "runs": plain(runs), "judges": plain(summaries())}
    (OUT / "fixtures" / "online_dpo.json").write_text(json.dumps(fixture) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
