"""
TRL 1.12's PPOTrainer as a contender of bench.ts: whole iterations, from prompts to the last of their updates.

It requires a separate value model, which is a second GPT-2 beside the policy (the reference is a third); this library's
value function is a head on the policy's transformer. The reward takes no time to compute on either side: it is whether
the last token's id is even.
"""

import json
import os
import sys
import tempfile
from types import SimpleNamespace

os.environ.update(TQDM_DISABLE="1", TRL_EXPERIMENTAL_SILENCE="1")

import torch
from datasets import Dataset
from protocol import InTurns
from transformers import GPT2ForSequenceClassification, GPT2LMHeadModel, PrinterCallback
from trl.experimental.ppo import PPOConfig, PPOTrainer


class EvenToken(torch.nn.Module):
    """A reward model in the form that TRL expects: a backbone with "hidden states", and a score computed from them."""

    base_model_prefix = "backbone"

    def __init__(self, prompt_length, turns):
        super().__init__()
        self.prompt_length, self.turns = prompt_length, turns

    def backbone(self, input_ids, **_):
        self.turns.sampled(input_ids[:, self.prompt_length :].numel())
        return SimpleNamespace(hidden_states=[(input_ids % 2 == 0).float()[..., None]])

    def score(self, hidden):
        return hidden


def main():
    task = json.loads(sys.argv[1])
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(1)
    prompts, new_tokens, rows_at_once, epochs = task["prompts"], task["newTokens"], task["rowsAtOnce"], task["epochs"]
    policy, reference = (GPT2LMHeadModel.from_pretrained(task["model"]) for _ in range(2))
    values = GPT2ForSequenceClassification.from_pretrained(task["model"], num_labels=1)
    turns = InTurns()
    data = Dataset.from_list(
        [{"input_ids": prompt} for prompt in prompts * 1000]
    )  # accelerate steps early in the last batch of the data
    # TRL recognizes padding by its id. There is no padding here, so no token may have that id.
    tokenizer = SimpleNamespace(pad_token_id=policy.config.vocab_size, eos_token_id=0)
    with tempfile.TemporaryDirectory() as folder:
        arguments = PPOConfig(
            output_dir=folder,
            per_device_train_batch_size=rows_at_once,
            gradient_accumulation_steps=len(prompts) // rows_at_once,
            num_mini_batches=1,
            num_ppo_epochs=epochs,
            total_episodes=10**6,
            response_length=new_tokens,
            temperature=0.7,
            local_rollout_forward_batch_size=len(prompts),
            learning_rate=1e-6,
            lr_scheduler_type="constant",
            num_sample_generations=0,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
        )
        trainer = PPOTrainer(
            args=arguments,
            processing_class=tokenizer,
            model=policy,
            ref_model=reference,
            reward_model=EvenToken(len(prompts[0]), turns),
            value_model=values,
            train_dataset=data,
            eval_dataset=data,
            data_collator=lambda rows: {"input_ids": torch.tensor([row["input_ids"] for row in rows])},
        )
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(turns)
        trainer.train()


if __name__ == "__main__":
    main()
