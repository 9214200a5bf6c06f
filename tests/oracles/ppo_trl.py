"""Makes tests/fixtures/ppo_trl.json: three iterations of TRL 1.12's PPOTrainer on given responses and scores, in
float32.

    PYTHONPATH=.alignbook/trl-ppo .alignbook/oracles/bin/python tests/oracles/ppo_trl.py

TRL wants a value model of its own; here its trunk is the policy's, so that the two are one model with two heads, as in
ppo_step.py. Each iteration of the fixture has its rows in TRL's order, `order` (the rows of each update), TRL's
metrics, and is also computed by ppo_step.py's functions: `updates` and the final `weights` are theirs, in float64;
TRL's are within 1e-4.

Every response has the same length and no end, because TRL treats others in a way of its own: its score lies on the
token after the last one, and that token counts in the value's loss. There is no clipping of gradients, which this
trainer leaves out.
"""

import json
import math
import os
import tempfile
from pathlib import Path

os.environ.update(TQDM_DISABLE="1", TRL_EXPERIMENTAL_SILENCE="1")

import numpy as np
import torch
import trl.experimental.ppo.ppo_trainer as ppo
from datasets import Dataset
from ppo_step import Policy, floats, optimizer_of, plain, rollout, update
from training import model_of, word_tokenizer
from transformers import PrinterCallback

OUT = Path(os.environ.get("ORACLES_OUT", Path(__file__).resolve().parent.parent))
VOCABULARY = 37
RESPONSE_LENGTH = 6
ROWS = 16
ITERATIONS, EPOCHS, MINIBATCHES = 3, 2, 2
OPTIONS = {
    "temperature": 0.7,
    "klCoef": 0.05,
    "gamma": 1.0,
    "gaeLambda": 0.95,
    "clipRange": 0.2,
    "valueClipRange": 0.05,
    "valueCoef": 0.1,
    "lr": 1e-3,
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-5,
    "weightDecay": 0.01,
    "maxGradNorm": math.inf,
}
METRICS = {
    "kl": "objective/kl",
    "sequenceEntropy": "objective/entropy",
    "nonScoreReward": "objective/non_score_reward",
    "rlhfReward": "objective/rlhf_reward",
    "scores": "objective/scores",
    "approxKl": "policy/approxkl_avg",
    "clipFraction": "policy/clipfrac_avg",
    "policyLoss": "loss/policy_avg",
    "valueLoss": "loss/value_avg",
    "valueClipFraction": "val/clipfrac_avg",
    "entropy": "policy/entropy_avg",
    "ratioMean": "val/ratio",
}


class Values(torch.nn.Module):
    """A value model in the form that TRL looks for, on the policy's own trunk."""

    base_model_prefix = "transformer"

    def __init__(self, trunk, head):
        super().__init__()
        self.transformer = trunk
        self.score = torch.nn.Linear(len(head["weight"]), 1)
        with torch.no_grad():
            self.score.weight.copy_(torch.tensor([head["weight"]]))
            self.score.bias.copy_(torch.tensor(head["bias"]))


class Script:
    """What the trainer would sample: responses, and the reward model's scores of them."""

    def __init__(self):
        self.generator = torch.Generator().manual_seed(41)
        self.rollouts, self.orders = [], []

    def ids(self, length):
        return torch.randint(1, VOCABULARY, (length,), generator=self.generator).tolist()

    def numbers(self, count, scale):
        return [round(scale * x, 4) for x in torch.randn(count, generator=self.generator).tolist()]

    def batch_generation(self, model, queries, batch_size, pad, config):
        prompts = [[n for n in query if n != pad] for query in queries.tolist()]
        self.rollouts.append(
            [
                {"promptIds": prompt, "responseIds": self.ids(RESPONSE_LENGTH), "score": score}
                for prompt, score in zip(prompts, self.numbers(len(prompts), 1.5))
            ]
        )
        self.orders.append([])
        sequences = torch.cat([queries, torch.tensor([row["responseIds"] for row in self.rollouts[-1]])], 1)
        with torch.no_grad():
            logits = ppo.forward(model, sequences, pad).logits[:, queries.shape[1] - 1 : -1]
        return sequences, logits / config.temperature

    def permutation(self, count):
        order = torch.randperm(count, generator=self.generator).tolist()
        self.orders[-1] += [order[start::MINIBATCHES] for start in range(MINIBATCHES)]
        return np.array(sum(self.orders[-1][-MINIBATCHES:], []))


def trl_run(script, head, folder):
    policy = model_of("a-group")
    reward_model = torch.nn.Module()
    tokenizer = word_tokenizer(VOCABULARY)
    tokenizer.padding_side = "left"
    data = Dataset.from_list([{"input_ids": script.ids(2 + n % 5)} for n in range(ROWS * ITERATIONS)])
    get_reward = ppo.get_reward

    def scripted_reward(model, *args):
        if model is reward_model:
            return None, torch.tensor([row["score"] for row in script.rollouts[-1]]), None
        return get_reward(model, *args)

    ppo.batch_generation, ppo.get_reward, ppo.np.random.permutation = (
        script.batch_generation,
        scripted_reward,
        script.permutation,
    )
    arguments = ppo.PPOConfig(
        output_dir=folder,
        per_device_train_batch_size=ROWS,
        num_mini_batches=MINIBATCHES,
        num_ppo_epochs=EPOCHS,
        total_episodes=ROWS * ITERATIONS,
        response_length=RESPONSE_LENGTH,
        temperature=OPTIONS["temperature"],
        kl_coef=OPTIONS["klCoef"],
        whiten_rewards=True,
        gamma=OPTIONS["gamma"],
        lam=OPTIONS["gaeLambda"],
        cliprange=OPTIONS["clipRange"],
        cliprange_value=OPTIONS["valueClipRange"],
        vf_coef=OPTIONS["valueCoef"],
        learning_rate=OPTIONS["lr"],
        lr_scheduler_type="constant",
        weight_decay=OPTIONS["weightDecay"],
        adam_epsilon=OPTIONS["epsilon"],
        num_sample_generations=0,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
    )
    trainer = ppo.PPOTrainer(
        args=arguments,
        processing_class=tokenizer,
        model=policy,
        ref_model=model_of("a-group"),
        reward_model=reward_model,
        train_dataset=data,
        eval_dataset=data,
        value_model=Values(policy.transformer, head),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    history = [entry for entry in trainer.state.log_history if "objective/kl" in entry]
    weights = {name.removeprefix("transformer."): weight for name, weight in policy.named_parameters()}
    weights |= {f"v_head.{name}": weight for name, weight in trainer.value_model.score.named_parameters()}
    return history, weights


def close(theirs, ours, what):
    assert abs(theirs - ours) < 1e-4, f"{what}: TRL has {theirs}, ppo_step.py {ours}"


def iteration(policy, reference, optimizer, rows, order, metrics):
    """The same by ppo_step.py."""
    with torch.no_grad():
        ref_logps = [reference(row, OPTIONS["temperature"])[0] for row in rows]
    made = rollout(policy, rows, lambda _: ref_logps, OPTIONS)
    updates = [update(policy, optimizer, rows, made, batch, OPTIONS)[0] for batch in order]
    for ours, value in plain(made["objective"]).items():
        close(metrics["sequenceEntropy" if ours == "entropy" else ours], value, ours)
    for ours in ("approxKl", "clipFraction", "policyLoss", "valueLoss", "valueClipFraction", "entropy", "ratioMean"):
        close(metrics[ours], sum(step[ours] for step in updates) / len(updates), ours)
    kept = (
        "loss",
        "policyLoss",
        "valueLoss",
        "clipFraction",
        "valueClipFraction",
        "approxKl",
        "ratioMean",
        "ratioVariance",
        "entropy",
        "gradNorm",
    )
    return [{key: step[key] for key in kept} for step in updates]


def main():
    script = Script()
    head = {"weight": script.numbers(16, 0.2), "bias": script.numbers(1, 0.5)}
    with tempfile.TemporaryDirectory() as folder:
        history, weights = trl_run(script, head, folder)
    policy, reference = (Policy(model_of("a-group"), head["weight"], head["bias"]).double() for _ in range(2))
    optimizer = optimizer_of(policy, OPTIONS)
    iterations = []
    for rows, order, entry in zip(script.rollouts, script.orders, history, strict=True):
        metrics = {ours: entry[theirs] for ours, theirs in METRICS.items()}
        updates = iteration(policy, reference, optimizer, rows, order, metrics)
        iterations.append({"rows": rows, "order": order, "metrics": plain(metrics), "updates": updates})
    for name, weight in policy.named().items():
        torch.testing.assert_close(weights[name].double().flatten(), weight.detach().flatten(), rtol=0, atol=1e-4)
    assert any(entry["metrics"]["clipFraction"] > 0 for entry in iterations) and any(
        entry["metrics"]["valueClipFraction"] > 0 for entry in iterations
    )
    options = {key: value for key, value in OPTIONS.items() if key != "maxGradNorm"}
    fixture = {
        "model": "a-group",
        "options": options,
        "vHead": head,
        "iterations": iterations,
        "weights": floats(policy.named()),
    }
    (OUT / "fixtures" / "ppo_trl.json").write_text(json.dumps(fixture) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
