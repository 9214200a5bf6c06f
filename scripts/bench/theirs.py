"""transformers as a contender of bench.ts; with --make, the maker of the model."""
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


def main():
    task = json.loads(sys.argv[1])
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    model = GPT2LMHeadModel.from_pretrained(task["model"], dtype=torch.bfloat16 if task["policy"] == "bf16" else torch.float32).eval()
    ids = torch.tensor(task["prompts"])
    model.generation_config.eos_token_id = None  # as many tokens from everyone

    def repeat():
        with torch.no_grad():
            output = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=task["newTokens"], pad_token_id=0)
        return output[:, ids.shape[1] :].tolist()

    serve(repeat)


if __name__ == "__main__":
    if sys.argv[1] == "--make":
        make(sys.argv[2], "--small" in sys.argv)
    else:
        main()
