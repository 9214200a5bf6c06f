"""TRL 1.16's GRPOTrainer as a contender of bench.ts: whole iterations, from prompts to the optimizer's step."""

import json
import os
import sys
import tempfile

import torch
from datasets import Dataset
from protocol import InTurns
from transformers import PrinterCallback
from trl import GRPOConfig, GRPOTrainer
from words import text, word_tokenizer


def main():
    task = json.loads(sys.argv[1])
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(1)
    with open(os.path.join(task["model"], "config.json")) as file:
        config = json.load(file)
    end = config["eos_token_id"]
    prompts, group, new_tokens, rows_at_once = task["prompts"], task["group"], task["newTokens"], task["rowsAtOnce"]
    rows = len(prompts) * group
    turns = InTurns()

    def even_tokens(completion_ids, **_):
        """The reward: the fraction of even ids, which takes no time to compute."""
        turns.sampled(sum(map(len, completion_ids)))
        return [sum(token % 2 == 0 for token in ids) / len(ids) for ids in completion_ids]

    data = Dataset.from_list([{"prompt": text(prompt)} for prompt in prompts])
    with tempfile.TemporaryDirectory() as folder:
        arguments = GRPOConfig(
            output_dir=folder,
            num_generations=group,
            max_completion_length=new_tokens,
            per_device_train_batch_size=rows_at_once,
            gradient_accumulation_steps=rows // rows_at_once,
            beta=0.04,
            temperature=1.0,
            loss_type="grpo",
            use_bias_correction_kl=False,
            learning_rate=1e-6,
            max_grad_norm=1.0,
            disable_dropout=True,
            generation_kwargs={"suppress_tokens": [end]},  # all contenders generate equally many tokens
            max_steps=10**6,
            lr_scheduler_type="constant",
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
        )
        trainer = GRPOTrainer(
            model=task["model"],
            reward_funcs=even_tokens,
            args=arguments,
            train_dataset=data,
            processing_class=word_tokenizer(config["vocab_size"], end),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(turns)
        trainer.train()


if __name__ == "__main__":
    main()
