"""TRL 1.16's DPOTrainer as a contender of bench.ts: one step per turn; the reference's log-probs are computed before
the first."""

import json
import os
import sys
import tempfile

import torch
from datasets import Dataset
from protocol import StepsInTurns
from transformers import GPT2LMHeadModel, PrinterCallback
from trl import DPOConfig, DPOTrainer
from words import text, word_tokenizer


def main():
    task = json.loads(sys.argv[1])
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    model = GPT2LMHeadModel.from_pretrained(task["model"], dtype=torch.float32)
    end, pairs = task["end"], task["pairs"]
    data = Dataset.from_list(
        [
            {
                "prompt": text(pair["promptIds"]),
                **{name: " " + text(pair[f"{name}Ids"][:-1]) for name in ("chosen", "rejected")},
            }
            for pair in pairs
        ]
    )  # TRL adds the end itself
    with tempfile.TemporaryDirectory() as folder:
        arguments = DPOConfig(
            output_dir=folder,
            beta=0.1,
            per_device_train_batch_size=len(pairs),
            max_steps=10**6,
            learning_rate=1e-6,
            lr_scheduler_type="constant",
            weight_decay=0.1,
            max_grad_norm=1.0,
            disable_dropout=True,
            precompute_ref_log_probs=True,
            max_length=None,
            use_cpu=not torch.cuda.is_available(),
            bf16=task["policy"] == "bf16",
            gradient_checkpointing=False,
            report_to=[],
            save_strategy="no",
            logging_steps=1,
            train_sampling_strategy="sequential",
        )
        trainer = DPOTrainer(
            model=model,
            args=arguments,
            train_dataset=data,
            processing_class=word_tokenizer(model.config.vocab_size, end),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(StepsInTurns())
        trainer.train()


if __name__ == "__main__":
    main()
