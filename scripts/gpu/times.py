"""
Step 5, PyTorch's part: python times.py FILE POLICY WAYS, called by check.ts. Does the tasks of FILE as times.ts
does, and prints a JSON line for each.

WAYS, separated by commas: `tuned`, `compiled`, `eager` and `trl` for steps of DPO. scripts/bench/theirs_dpo.py has the
first three (eager is the walkthrough's way: four forward passes, all logits); TRL's DPOTrainer runs in a process of its
own. Scoring and generation are those of transformers. Before the tasks, the card's fastest product is measured.
"""

import contextlib
import gc
import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))

import torch

BENCH = Path(__file__).resolve().parents[1] / "bench"

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


@contextlib.contextmanager
def trl(task):
    """Yields a function that lets TRL's DPOTrainer, in its own process, take its next step."""
    process = subprocess.Popen(
        [sys.executable, str(BENCH / "theirs_dpo_trl.py"), json.dumps(task)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    asked = 0

    def step():
        nonlocal asked
        if asked > 0:  # it takes the first step unasked
            process.stdin.write("\n")
            process.stdin.flush()
        asked += 1
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"TRL's process ended with {process.wait()}")
        return json.loads(line).get("result")

    try:
        yield step
    finally:
        process.kill()
        process.communicate()


def contenders(task, ways):
    """[name, a context that yields a function that does it once, whether it runs under autocast]"""
    from theirs import generation
    from theirs_dpo import contender

    @contextlib.contextmanager
    def of_pytorch(way):  # made when it is its turn, and gone after it
        yield contender("source" if way == "eager" else way, task)

    if task["kind"] == "dpo":
        return [
            ("TRL", trl(task), False) if way == "trl" else (f"PyTorch, {way}", of_pytorch(way), way != "eager")
            for way in ways
        ]
    if task["kind"] == "score":
        return [("transformers", of_pytorch("score"), True)]
    return [("transformers", contextlib.nullcontext(generation(task)), False)]  # its weights are in bfloat16


def timed(name, one, cast, given, at_start):
    """Seconds of each repetition, the first result, and the card's megabytes."""
    base = megabytes() if name == "TRL" else at_start  # what its own process takes
    seconds, result = [], None  # the first result, after as many steps as the others' first
    with cast, one as repeat:
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
        taken = None if base is None else megabytes() - base
    return {"seconds": seconds, "result": result, "megabytes": taken}


def main():
    file, policy, ways = sys.argv[1:]
    given = json.loads(Path(file).read_text())
    at_start = megabytes()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_default_device(device)
    torch.backends.cuda.matmul.allow_tf32 = policy == "tf32"
    top = peak(policy)
    for task in given["tasks"]:
        for name, one, casts in contenders({**task, "policy": "bf16" if policy == "bf16" else "fp32"}, ways.split(",")):
            cast = torch.autocast(device, torch.bfloat16) if casts and policy == "bf16" else contextlib.nullcontext()
            try:
                measured = timed(name, one, cast, given, at_start)
                told(name=task["name"], contender=name, peak=top, **measured)
            except Exception as error:  # such as another version of TRL: the others are timed all the same
                line = f"{policy} {task['name']}: {name} failed: {str(error)[:200]}"
                print(json.dumps({"line": line, "verdict": "left out"}), file=OUT, flush=True)
            gc.collect()
            if device == "cuda":
                torch.cuda.empty_cache()  # so that each one's memory is its own


if __name__ == "__main__":
    OUT = sys.stdout
    main()
