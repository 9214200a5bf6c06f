"""TRL's preparation of a file of pairs as a contender of bench.ts: datasets reads the file, and DPOTrainer's own method
prepares the rows, one at a time as its trainer does; with `batched`, a map that gives the tokenizer a thousand rows at
once does the same work."""

import json
import sys
import tempfile
from types import SimpleNamespace

import datasets
from datasets import load_dataset
from protocol import serve
from transformers import GPT2TokenizerFast
from trl import DPOTrainer


def batched(dataset, tokenizer):
    def encode(rows):
        ids = {"prompt_ids": tokenizer(rows["prompt"])["input_ids"]}
        for name in ("chosen", "rejected"):
            whole = [a + b + tokenizer.eos_token for a, b in zip(rows["prompt"], rows[name])]
            encoded = tokenizer(whole)["input_ids"]
            ids[f"{name}_ids"] = [each[len(prompt) :] for each, prompt in zip(encoded, ids["prompt_ids"])]
        return ids

    return dataset.map(encode, batched=True)


def main():
    task = json.loads(sys.argv[1])
    datasets.disable_caching()
    datasets.disable_progress_bars()
    tokenizer = GPT2TokenizerFast.from_pretrained(task["model"])
    trainer = SimpleNamespace(_tokenizer=tokenizer)
    arguments = SimpleNamespace(dataset_num_proc=None, max_length=task["maxLength"], truncation_mode="keep_start")

    def prepare():
        with tempfile.TemporaryDirectory() as folder:
            rows = load_dataset("json", data_files=task["file"], split="train", cache_dir=folder)
            if "batched" in sys.argv[2:]:
                prepared = batched(rows, tokenizer)
            else:
                prepared = DPOTrainer._prepare_dataset(trainer, rows, tokenizer, arguments, "train")
            lists = [prepared.data.column(f"{name}_ids") for name in ("prompt", "chosen", "rejected")]
            return [len(prepared), *(sum(len(chunk.flatten()) for chunk in column.chunks) for column in lists)]

    serve(prepare)


if __name__ == "__main__":
    main()
