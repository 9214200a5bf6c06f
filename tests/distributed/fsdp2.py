"""The steps of a handed-over DPO run by torch's own FSDP2, without TRL: parameters, gradients and moments sharded.

    torchrun --nproc_per_node 2 tests/distributed/fsdp2.py FOLDER

Writes FOLDER/out/trajectory.json, for `npx alignbook handoff --check`. TRL and accelerate ignore FSDP without GPUs, so
that rows, order and settings fit FSDP2 as well is shown here by a loop of its own.
"""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM, get_scheduler

FOLDER = Path(sys.argv[1]).resolve()
sys.path.insert(0, str(FOLDER))
from train import load, rows_of  # noqa: E402


def logps(model, rows, name):
    """[B]: the sum of the log-probs of each row's response."""
    ids = [row["prompt_ids"] + row[name] for row in rows]
    longest = max(map(len, ids))
    padded = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
    logits = model(input_ids=padded, attention_mask=mask).logits
    tokens = logits[:, :-1].log_softmax(-1).gather(2, padded[:, 1:, None])[..., 0]
    starts = torch.tensor([len(row["prompt_ids"]) - 1 for row in rows])
    in_response = (torch.arange(longest - 1) >= starts[:, None]) & (mask[:, 1:] == 1)
    return (tokens * in_response).sum(1)


def groups(model, decay):
    """Matrices are decayed; biases and layer norms are not."""
    named = list(model.named_parameters())
    is_matrix = lambda name: not name.endswith(".bias") and "ln_" not in name
    yield {"params": [p for name, p in named if is_matrix(name)], "weight_decay": decay}
    yield {"params": [p for name, p in named if not is_matrix(name)], "weight_decay": 0.0}


def main():
    dist.init_process_group("gloo")
    rank, processes = dist.get_rank(), dist.get_world_size()
    handoff = json.loads((FOLDER / "run.json").read_text())
    run = handoff["settings"]
    model = load(AutoModelForCausalLM, FOLDER).train()
    whole = sum(p.numel() for p in model.parameters())
    mesh = init_device_mesh("cpu", (processes,))
    for block in model.transformer.h:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    own = sum(p.to_local().numel() for p in model.parameters())
    adamw = torch.optim.AdamW(
        groups(model, run["weightDecay"]), lr=run["lr"], betas=(run["beta1"], run["beta2"]), eps=run["epsilon"]
    )
    schedule = get_scheduler(run["schedule"], adamw, run["warmupSteps"], run["steps"])
    rows, size, steps = rows_of(FOLDER), run["batchSize"] // processes, []
    for step in range(handoff["compare"]):
        first = step * run["batchSize"] + rank * size
        mine = [rows[place] for place in range(first, first + size)]
        policy = {name: logps(model, mine, f"{name}_ids") for name in ("chosen", "rejected")}
        rewards = {
            name: run["beta"] * (sums - torch.tensor([row[f"ref_{name}_logps"] for row in mine]))
            for name, sums in policy.items()
        }
        loss = -logsigmoid(rewards["chosen"] - rewards["rejected"]).mean()
        loss.backward()  # gradients are averaged over the processes
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), run["maxGradNorm"]).full_tensor()
        figures = {
            "loss": loss,
            **{f"logps/{name}": sums.mean() for name, sums in policy.items()},
            **{f"rewards/{name}": values.mean() for name, values in rewards.items()},
            "rewards/margins": (rewards["chosen"] - rewards["rejected"]).mean(),
            "rewards/accuracies": (rewards["chosen"] > rewards["rejected"]).float().mean(),
        }
        means = torch.stack([value.detach() for value in figures.values()])
        dist.all_reduce(means)
        averaged = dict(zip(figures, (means / processes).tolist(), strict=True))
        lr = schedule.get_last_lr()[0]
        steps.append({"step": step + 1, **averaged, "grad_norm": norm.item(), "learning_rate": lr})
        adamw.step()
        schedule.step()
        adamw.zero_grad()
    if rank == 0:
        print(f"{whole} parameters, {own} of them on rank 0")
        how = {"processes": processes, "distributedType": "fully_shard", "backend": "gloo", "accumulate": 1}
        (FOLDER / "out").mkdir(exist_ok=True)
        text = json.dumps({"id": handoff["id"], "how": {**how, "mixedPrecision": "no"}, "steps": steps}, indent=1)
        (FOLDER / "out" / "trajectory.json").write_text(text)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
