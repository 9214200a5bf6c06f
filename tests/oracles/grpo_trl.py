"""Makes tests/fixtures/grpo_trl.json: ten steps of TRL 1.16's GRPOTrainer on given responses and rewards, in float32.

    .alignbook/oracles/bin/python tests/oracles/grpo_trl.py

Policy and reference begin as one-head of tests/fixtures/engine. Five rollouts of two prompts with four responses each
make two updates each, on all of their rows (num_iterations 2). `rollouts` come in order, rows group after group;
`steps` are TRL's logs: `klRatio` says whether its KL has the ratio as a factor (use_bias_correction_kl), and rewards
are logged at the first step of a rollout only. Two of the runs have options of their own: `clipRange`, `epsilonHigh`
(epsilon_high), `level` (importance_sampling_level), `maskTruncated` (mask_truncated_completions), and two rewards, the
rows' own and `letters`, with the weights `weights` (reward_weights); what each gave is in `rewards` of the steps.
"""

import json
import os
import tempfile
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"

import torch
from ppo_step import EOS, plain
from training import logits_after, model_of
from trl_rollouts import adamw, draws, scripted_trainer

OUT = Path(os.environ.get("ORACLES_OUT", Path(__file__).resolve().parent.parent))
VOCABULARY = 23
ROLLOUTS, PROMPTS, GENERATIONS = 5, 2, 4
OPTIONS = {
    "temperature": 0.8,
    "beta": 0.1,
    "maxNewTokens": 8,
    "lr": 2e-3,
    "beta1": 0.9,
    "beta2": 0.99,
    "epsilon": 1e-4,
    "weightDecay": 0.01,
    "maxGradNorm": 0.5,
}
PLAIN = {"klRatio": False, "clipRange": 0.1, "epsilonHigh": 0.1, "level": "token", "maskTruncated": False}
RUNS = [
    {"loss": "grpo"},
    {"loss": "dapo", "klRatio": True},
    {"loss": "dr_grpo"},
    {"loss": "dapo", "epsilonHigh": 0.14, "maskTruncated": True, "weights": [1.0, 0.5]},
    {"loss": "grpo", "level": "sequence", "clipRange": 0.02, "epsilonHigh": 0.03},
]
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
    integer, ids, response = draws(43, VOCABULARY, EOS)
    rollouts = []
    for _ in range(ROLLOUTS):
        prompts = [ids(integer(2, 7)) for _ in range(PROMPTS)]
        rollouts.append(
            [
                {"promptIds": prompt, "responseIds": response(), "reward": integer(0, 9) / 4, "letters": 0.0}
                for prompt in prompts
                for _ in range(GENERATIONS)
            ]
        )
    for row in rollouts[2][:GENERATIONS]:
        row["reward"] = 1.0  # a group that says nothing
    for row in (row for rollout in rollouts for row in rollout):
        row["letters"] = sum(id % 2 for id in row["responseIds"]) / 8
    return rollouts


def run(folder, rollouts, changed):
    options = {**PLAIN, **changed}
    weights = options.get("weights")
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
        rewards=("reward", "letters") if weights else ("reward",),
        reward_weights=weights,
        loss_type=options["loss"],
        use_bias_correction_kl=options["klRatio"],
        temperature=OPTIONS["temperature"],
        beta=OPTIONS["beta"],
        epsilon=options["clipRange"],
        epsilon_high=options["epsilonHigh"],
        importance_sampling_level=options["level"],
        mask_truncated_completions=options["maskTruncated"],
        max_completion_length=OPTIONS["maxNewTokens"],
        **adamw(OPTIONS),
    )
    trainer.train()
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    steps = [{ours: entry[theirs] for ours, theirs in LOGGED.items() if theirs in entry} for entry in history]
    for step, entry in zip(steps, history):
        if weights and "reward" in step:
            of = lambda name: {"mean": entry[f"rewards/{name}/mean"], "deviation": entry[f"rewards/{name}/std"]}
            step["rewards"] = {name: of(name) for name in ("reward", "letters")}
    assert any(step["lowClip"] > 0 for step in steps) and any(step["highClip"] > 0 for step in steps)
    return {**options, "steps": steps, "last": logits_after(trainer.model, prompts[0])}


def main():
    rollouts = scripted()
    with tempfile.TemporaryDirectory() as folder:
        model_of("one-head").save_pretrained(folder)
        runs = [run(folder, rollouts, changed) for changed in RUNS]
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
