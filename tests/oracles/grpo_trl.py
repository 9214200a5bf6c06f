"""Makes tests/fixtures/grpo_trl.json: ten steps of TRL 1.16's GRPOTrainer on given responses and rewards, in float32.

    .alignbook/oracles/bin/python tests/oracles/grpo_trl.py

Policy and reference begin as one-head of tests/fixtures/engine. Five rollouts of two prompts with four responses each
make two updates each, on all of their rows (num_iterations 2). `rollouts` come in order, rows group after group;
`steps` are TRL's logs: `klRatio` says whether its KL has the ratio as a factor (use_bias_correction_kl), and rewards
are logged at the first step of a rollout only.
"""

import json
import os
import tempfile
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"

import torch
from ppo_step import EOS, plain
from training import logits_after, model_of
from trl_rollouts import scripted_trainer

OUT = Path(os.environ.get("ORACLES_OUT", Path(__file__).resolve().parent.parent))
VOCABULARY = 23
ROLLOUTS, PROMPTS, GENERATIONS = 5, 2, 4
OPTIONS = {
    "temperature": 0.8,
    "beta": 0.1,
    "clipRange": 0.1,
    "maxNewTokens": 8,
    "lr": 2e-3,
    "beta1": 0.9,
    "beta2": 0.99,
    "epsilon": 1e-4,
    "weightDecay": 0.01,
    "maxGradNorm": 0.5,
}
RUNS = [("grpo", False), ("dapo", True), ("dr_grpo", False)]
LOGGED = {
    "loss": "loss",
    "gradNorm": "grad_norm",
    "kl": "kl",
    "entropy": "entropy",
    "clipFraction": "clip_ratio/region_mean",
    "lowClip": "clip_ratio/low_mean",
    "highClip": "clip_ratio/high_mean",
    "reward": "reward",
    "rewardDeviation": "reward_std",
    "zeroDeviation": "frac_reward_zero_std",
    "meanLength": "completions/mean_length",
    "cut": "completions/clipped_ratio",
}


def scripted():
    generator = torch.Generator().manual_seed(43)
    integer = lambda low, high: torch.randint(low, high, (1,), generator=generator).item()
    ids = lambda length: torch.randint(1, VOCABULARY, (length,), generator=generator).tolist()

    def response():
        ended = integer(0, 3) > 0
        return ids(integer(0, 7)) + [EOS] if ended else ids(8)

    rollouts = []
    for _ in range(ROLLOUTS):
        prompts = [ids(integer(2, 7)) for _ in range(PROMPTS)]
        rollouts.append(
            [
                {"promptIds": prompt, "responseIds": response(), "reward": integer(0, 9) / 4}
                for prompt in prompts
                for _ in range(GENERATIONS)
            ]
        )
    for row in rollouts[2][:GENERATIONS]:
        row["reward"] = 1.0  # a group that says nothing
    return rollouts


def run(folder, rollouts, loss_type, kl_ratio):
    script = iter(rollouts)
    prompts = [row["promptIds"] for rollout in rollouts for row in rollout[::GENERATIONS]]
    trainer = scripted_trainer(
        "grpo",
        folder,
        prompts,
        lambda: next(script),
        VOCABULARY,
        GENERATIONS,
        per_device_train_batch_size=PROMPTS * GENERATIONS,
        gradient_accumulation_steps=1,
        steps_per_generation=1,
        num_iterations=2,
        max_steps=2 * ROLLOUTS,
        loss_type=loss_type,
        use_bias_correction_kl=kl_ratio,
        temperature=OPTIONS["temperature"],
        beta=OPTIONS["beta"],
        epsilon=OPTIONS["clipRange"],
        max_completion_length=OPTIONS["maxNewTokens"],
        learning_rate=OPTIONS["lr"],
        lr_scheduler_type="constant",
        adam_beta1=OPTIONS["beta1"],
        adam_beta2=OPTIONS["beta2"],
        adam_epsilon=OPTIONS["epsilon"],
        weight_decay=OPTIONS["weightDecay"],
        max_grad_norm=OPTIONS["maxGradNorm"],
    )
    trainer.train()
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    steps = [{ours: entry[theirs] for ours, theirs in LOGGED.items() if theirs in entry} for entry in history]
    assert any(step["lowClip"] > 0 for step in steps) and any(step["highClip"] > 0 for step in steps)
    return {"loss": loss_type, "klRatio": kl_ratio, "steps": steps, "last": logits_after(trainer.model, prompts[0])}


def main():
    rollouts = scripted()
    with tempfile.TemporaryDirectory() as folder:
        model_of("one-head").save_pretrained(folder)
        runs = [run(folder, rollouts, loss_type, kl_ratio) for loss_type, kl_ratio in RUNS]
    fixture = {
        "model": "one-head",
        "options": OPTIONS,
        "generations": GENERATIONS,
        "iterations": 2,
        "rollouts": rollouts,
        "runs": plain(runs),
    }
    (OUT / "fixtures" / "grpo_trl.json").write_text(json.dumps(fixture) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
