"""Continue an alignbook run with TRL, on as many processes as the launcher starts.

    python train.py                                    one process
    torchrun --nproc_per_node 2 train.py               two processes of this machine
    torchrun --nproc_per_node 2 train.py --compare     only the steps that alignbook took as well

The folder of this file contains everything else: model/ is the initial model, rows.jsonl the rows as token ids,
order.json the row for each place in each batch, and run.json the settings. The batch in run.json is divided among the
processes, so the steps are the same on any number of them. OUT/trajectory.json receives the figures of the first
steps, for `npx alignbook handoff --check`; OUT/model receives the trained model, which alignbook can open.

What differs from a TRL script that you would write for new data, and why:
  * the rows are ready: they are not tokenized or shuffled here, and they include the reference's log-probs;
  * bf16, on by default in TRL, is off unless you ask for it: it changes the loss 200 times as much as all else;
  * dropout is 0 in every model, as in alignbook: to transformers, a config.json that does not mention it means 0.1.
"""

import argparse
import json
import math
import os
from importlib.metadata import version
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

HERE = Path(__file__).resolve().parent
PACKAGES = ("torch", "transformers", "trl", "accelerate", "datasets")


class ReadyPairs(DPOTrainer):
    """DPOTrainer for rows that are already token ids and include the reference's log-probs."""

    def _prepare_dataset(self, dataset, *_):
        return dataset

    def _precompute_ref_logps(self, dataset, *_):
        return dataset


class Trajectory(TrainerCallback):
    """Writes the figures of the first `steps` steps; with `stop`, training ends there, on an unchanged schedule."""

    def __init__(self, steps, stop, write):
        self.steps, self.stop, self.write, self.logged = steps, stop, write, []

    def on_log(self, args, state, control, logs=None, **_):
        if "grad_norm" not in (logs or {}) or state.global_step > self.steps:
            return
        # JSON has no infinity and no NaN
        finite = {name: value if math.isfinite(value) else None for name, value in logs.items()}
        self.logged.append({"step": state.global_step, **finite})
        if len(self.logged) == self.steps and state.is_world_process_zero:
            self.write(self.logged)

    def on_step_end(self, args, state, control, **_):
        if self.stop and state.global_step >= self.steps:
            control.should_training_stop = True


def settings_of_every_trainer(run, processes, options):
    """alignbook's settings under transformers' names, with the batch divided among processes and accumulation parts."""
    batch_size, parts = run["batchSize"] * run.get("groupSize", 1), processes * options.accumulate
    if batch_size % parts:
        raise SystemExit(
            f"a batch of {batch_size} rows cannot be divided by {processes} processes x {options.accumulate} parts; "
            "choose numbers whose product divides it"
        )
    if run["oneProcess"] and parts > 1:
        raise SystemExit(
            f"the loss of this run ({run['loss']}) compares or averages the rows of a whole batch, so its steps would "
            "change: start one process, without --accumulate"
        )
    schedule = {"constant": "constant_with_warmup"}.get(run["schedule"], run["schedule"])
    more = {}
    if schedule == "cosine" and run["minLrRatio"] > 0:
        schedule, more = "cosine_with_min_lr", {"lr_scheduler_kwargs": {"min_lr_rate": run["minLrRatio"]}}
    return {
        "output_dir": str(options.out),
        "max_steps": run["steps"] * run.get("iterations", 1),
        "per_device_train_batch_size": batch_size // parts,
        "gradient_accumulation_steps": options.accumulate,
        "train_sampling_strategy": "sequential",  # the rows are already shuffled, by order.json
        "dataloader_drop_last": True,
        "optim": "adamw_torch",
        "learning_rate": run["lr"],
        "lr_scheduler_type": schedule,
        "warmup_steps": run["warmupSteps"] * run.get("iterations", 1),
        "weight_decay": run["weightDecay"],
        "adam_beta1": run["beta1"],
        "adam_beta2": run["beta2"],
        "adam_epsilon": run["epsilon"],
        "max_grad_norm": run["maxGradNorm"],
        "max_length": None,  # alignbook has already truncated the rows
        "bf16": options.bf16,
        "gradient_checkpointing": False,
        "use_cpu": not torch.cuda.is_available(),
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "save_strategy": "steps" if options.save_every else "no",
        "save_steps": options.save_every or 500,
        "save_total_limit": 2,
        **more,
    }


def rows_of(folder):
    """The rows of every step, one batch after another."""
    rows = Dataset.from_list([json.loads(line) for line in (folder / "rows.jsonl").open()])
    return rows.select(json.loads((folder / "order.json").read_text()))


def load(kind, folder):
    no_dropout = dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0)
    return kind.from_pretrained(folder / "model", dtype=torch.float32, attn_implementation="eager", **no_dropout)


def dpo(run, folder, tokenizer, rows, common):
    args = DPOConfig(
        **common,
        disable_dropout=True,
        loss_type=[run["loss"]],
        beta=run["beta"],
        label_smoothing=run["labelSmoothing"],
        f_divergence_type={"js": "js_divergence", "alpha": "alpha_divergence"}.get(
            run["divergence"], run["divergence"]
        ),
        f_alpha_divergence_coef=1 - run["divergenceAlpha"],  # the other end of the same family
        discopop_tau=run["discopopTau"],
        precompute_ref_log_probs=True,
    )
    return ReadyPairs(load(AutoModelForCausalLM, folder), args=args, train_dataset=rows, processing_class=tokenizer)


def sft(run, folder, tokenizer, rows, common):
    args = SFTConfig(**common, completion_only_loss=True, packing=False)
    return SFTTrainer(load(AutoModelForCausalLM, folder), args=args, train_dataset=rows, processing_class=tokenizer)


def reward(run, folder, tokenizer, rows, common):
    # TRL pads GPT-2 with its end token and reads the score at the last token that is not padding, which would be the
    # token before the end token. With a padding id that no row contains, the score is read at the end token.
    used = {token for row in rows for name in ("chosen_ids", "rejected_ids") for token in row[name]}
    if not run["readBeforeEnd"]:
        unused = next(token for token in range(len(tokenizer)) if token not in used)
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(unused)
    args = RewardConfig(**common, disable_dropout=True, center_rewards_coefficient=run["centerRewards"] or None)
    model = load(AutoModelForSequenceClassification, folder)
    return RewardTrainer(model, args=args, train_dataset=rows, processing_class=tokenizer)


def count(text):
    """A whole number from 1 up, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 up, got {text}")
    return int(text)


def write(path, value):
    """Writes the complete file or nothing."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1))
    part.replace(path)


def main(given=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "out", help="folder of the results (default: out, here)")
    parser.add_argument(
        "--accumulate", type=count, default=1, metavar="K", help="cut each process's batch into K parts"
    )
    parser.add_argument("--processes", type=count, metavar="N", help="refuse to run on any other number of processes")
    parser.add_argument("--compare", action="store_true", help="stop after the steps that alignbook took as well")
    parser.add_argument("--save-every", type=count, metavar="N", help="save a checkpoint every N steps; keep two")
    parser.add_argument(
        "--resume", action="store_true", help="continue from the newest checkpoint in the output folder"
    )
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16; the steps are then not alignbook's")
    options = parser.parse_args(given)
    handoff = json.loads((HERE / "run.json").read_text())
    run = handoff["settings"]
    processes = int(os.environ.get("WORLD_SIZE", 1))
    if options.processes not in (None, processes):
        raise SystemExit(f"{processes} processes were started, not {options.processes}: check the launcher's options")

    tokenizer = AutoTokenizer.from_pretrained(HERE / "model")
    common = settings_of_every_trainer(run, processes, options)
    builders = {"dpo": dpo, "sft": sft, "reward": reward}
    if handoff["kind"] == "grpo":
        from grpo import grpo

        builders["grpo"] = grpo
    trainer = builders[handoff["kind"]](run, HERE, tokenizer, rows_of(HERE), common)
    state = trainer.accelerator.state
    how = {
        "processes": state.num_processes,
        "distributedType": state.distributed_type.value,
        "backend": state.backend,
        "accumulate": options.accumulate,
        "mixedPrecision": state.mixed_precision,
        "device": str(trainer.accelerator.device),
    }
    if trainer.accelerator.is_main_process:
        print(", ".join(f"{name} {value}" for name, value in how.items()), flush=True)

    def record(steps):
        options.out.mkdir(parents=True, exist_ok=True)
        versions = {name: version(name) for name in PACKAGES}
        write(options.out / "trajectory.json", {"id": handoff["id"], "how": how, "versions": versions, "steps": steps})

    steps = handoff["compare"] or common["max_steps"]  # GRPO: nothing is compared, so every step is recorded
    trainer.add_callback(Trajectory(steps, options.compare, record))
    trainer.train(resume_from_checkpoint=options.resume or None)
    if not options.compare:
        trainer.save_model(str(options.out / "model"))


if __name__ == "__main__":
    main()
