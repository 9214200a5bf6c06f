"""transformers as a contender of bench.ts; with --make, makes the model."""

import json
import os
import sys

import torch
from protocol import serve
from transformers import GPT2Config, GPT2LMHeadModel


def make(path, small):
    torch.manual_seed(124)
    sizes = {"n_layer": 2, "n_head": 2, "n_embd": 32, "vocab_size": 101, "n_positions": 64} if small else {}
    GPT2LMHeadModel(GPT2Config(initializer_range=0.04, bos_token_id=0, eos_token_id=0, **sizes)).save_pretrained(path)


def generation(task):
    """A function that generates a task's answers each time it is called. Runs on PyTorch's default device."""
    dtype = torch.bfloat16 if task["policy"] == "bf16" else torch.float32
    model = GPT2LMHeadModel.from_pretrained(task["model"], dtype=dtype).to(torch.get_default_device()).eval()
    model.generation_config.eos_token_id = None  # all contenders generate equally many tokens
    prompts, end = task["prompts"], task["end"]
    at_once = task.get("batchSize")

    def made(rows, **options):
        """The new ids [B, L] after the prompts, with padding before the shorter prompts."""
        length = max(map(len, rows))
        ids = torch.tensor([[end] * (length - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
        with torch.no_grad():
            return model.generate(
                ids, attention_mask=mask, do_sample=False, max_new_tokens=task["newTokens"], pad_token_id=end, **options
            )[:, length:].tolist()

    def ended(ids):
        return ids[: ids.index(end) + 1] if end in ids else ids

    def repeat():
        if at_once is None:
            return made(prompts)
        return [
            ended(ids)
            for start in range(0, len(prompts), at_once)
            for ids in made(prompts[start : start + at_once], eos_token_id=end)
        ]

    return repeat


def main():
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    serve(generation(json.loads(sys.argv[1])))


if __name__ == "__main__":
    if sys.argv[1] == "--make":
        make(sys.argv[2], "--small" in sys.argv)
    else:
        main()
