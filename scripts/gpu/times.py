"""
Step 5, PyTorch's part: python times.py FILE POLICY WAYS, called by check.ts. Does the tasks of FILE as times.ts
does, and prints a JSON line for each.

WAYS, separated by commas: `tuned` and `eager` for steps of DPO (scripts/bench/theirs_dpo.py has both; eager is the
walkthrough's way: four forward passes, all logits). Scoring and generation are those of transformers. Before
the tasks, the card's fastest product is measured.
"""

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))

import torch

WARM_UP = 3


def told(**value):
    print(json.dumps({"timed": value}), file=OUT, flush=True)


def megabytes():
    """Memory in use on the whole card; None if no driver answers."""
    try:
        asked = subprocess.run(
            ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"], capture_output=True, text=True
        )
    except FileNotFoundError:
        return None
    return float(asked.stdout.split()[0]) if asked.returncode == 0 else None


def synchronized():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak(policy):
    """Operations per second of a product of large matrices, the fastest of ten."""
    size = 8192 if torch.cuda.is_available() else 512
    x, y = (torch.randn(size, size, dtype=torch.bfloat16 if policy == "bf16" else torch.float32) for _ in range(2))
    least = float("inf")
    for _ in range(10):
        synchronized()
        start = time.perf_counter()
        x @ y
        synchronized()
        least = min(least, time.perf_counter() - start)
    return 2 * size**3 / least


def contenders(task, ways):
    """[name, a function that does it once, whether it runs under autocast]"""
    from theirs import generation
    from theirs_dpo import contender

    if task["kind"] == "dpo":
        return [
            (f"PyTorch, {way}", contender("source" if way == "eager" else way, task), way != "eager") for way in ways
        ]
    if task["kind"] == "score":
        return [("transformers", contender("score", task), True)]
    return [("transformers", generation(task), False)]  # its weights are in bfloat16


def main():
    file, policy, ways = sys.argv[1:]
    given = json.loads(Path(file).read_text())
    at_start = megabytes()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_default_device(device)
    torch.backends.cuda.matmul.allow_tf32 = policy == "tf32"
    top = peak(policy)
    for task in given["tasks"]:
        for name, repeat, casts in contenders(
            {**task, "policy": "bf16" if policy == "bf16" else "fp32"}, ways.split(",")
        ):
            cast = torch.autocast(device, torch.bfloat16) if casts and policy == "bf16" else contextlib.nullcontext()
            seconds, result = [], None  # the first result, after as many steps as the others' first
            with cast:
                for _ in range(WARM_UP):
                    repeat()
                begin = time.perf_counter()
                while len(seconds) < given["repetitions"] and time.perf_counter() - begin < given["mostSeconds"]:
                    synchronized()
                    start = time.perf_counter()
                    made = repeat()
                    synchronized()
                    seconds.append(time.perf_counter() - start)
                    result = made if result is None else result
            taken = None if at_start is None else megabytes() - at_start
            told(name=task["name"], contender=name, seconds=seconds, result=result, megabytes=taken, peak=top)
            del repeat


if __name__ == "__main__":
    OUT = sys.stdout
    main()
