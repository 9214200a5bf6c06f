"""How contenders in Python communicate with bench.ts: one line when ready, then one line for each line they read."""

import json
import os
import sys
import time

from transformers import TrainerCallback

LINES = os.fdopen(os.dup(1), "w")
sys.stdout = open(os.devnull, "w")  # hides what trainers print


def answer(**value):
    print(json.dumps(value), file=LINES, flush=True)


def serve(repeat):
    """Runs `repeat`, which does the work once and returns its result; the first run is not measured."""
    repeat()
    answer(ready=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        result = repeat()
        answer(seconds=time.perf_counter() - start, result=result)


class Turns(TrainerCallback):
    """The same for a trainer's steps, within one training: state made in the first step, such as AdamW's moments,
    remains for the next."""

    start = None

    def turn(self, result):
        if self.start is None:
            answer(ready=True)
        else:
            answer(seconds=time.perf_counter() - self.start, result=result)
        if not sys.stdin.readline():
            sys.exit()
        self.start = time.perf_counter()


class StepsInTurns(Turns):
    """The result is what the trainer logs for each step."""

    def on_log(self, args, state, control, logs, **_):
        self.turn({"loss": logs["loss"], "gradNorm": logs["grad_norm"]})


class InTurns(Turns):
    """For whole iterations: the result is the amount of work that was done."""

    def __init__(self):
        self.tokens, self.updates = 0, 0

    def sampled(self, tokens):
        """The reward reports how many tokens there are, so that the result is the work that was done, not the work
        requested."""
        self.tokens += tokens

    def on_step_end(self, args, state, control, optimizer, **_):
        updates = int(next(iter(optimizer.state.values()))["step"])
        result = {"tokens": self.tokens, "updates": updates - self.updates}
        self.tokens, self.updates = 0, updates
        self.turn(result)
