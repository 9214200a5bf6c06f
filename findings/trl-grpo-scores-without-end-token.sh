#!/usr/bin/env bash
# TRL 1.16.0: RewardTrainer trains a reward model on texts that end with the end-of-sequence token; GRPOTrainer scores answers without it.
#
# Given a reward model, GRPOTrainer decodes each sampled answer without special tokens and encodes the text again, so that the end token of an
# answer that ended is gone. Where the tokenizer has a padding token of its own, the reward model was trained to be read at that end token (see
# trl-reward-end-token-not-scored.sh for the other case), and is read at a token on which it was never trained.
#
# Seen: every text that RewardTrainer feeds to the model ends with the end token; of the texts that GRPOTrainer feeds to the same kind of model
# none holds it, though answers ended with it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0
"$work/venv/bin/pip" install --quiet transformers==5.23.0 trl==1.16.0 accelerate==1.15.0 datasets==5.2.0
cd "$work"
HF_HUB_OFFLINE=1 TQDM_DISABLE=1 "$work/venv/bin/python" - <<'PYTHON'
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer, RewardConfig, RewardTrainer

WORDS = ["<end>", "<pad>", "is", "it", "so", "yes"]
END, PAD = 0, 1
SIZES = dict(n_layer=1, n_head=2, n_embd=8, n_positions=32, vocab_size=len(WORDS), bos_token_id=END, eos_token_id=END, pad_token_id=PAD)
COMMON = dict(output_dir="out", max_steps=1, use_cpu=True, bf16=False, report_to=[], save_strategy="no", gradient_checkpointing=False)


def tokenizer():
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="it"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", pad_token="<pad>")


def judge():
    """A reward model, and the rows of ids that it was given, without padding."""
    model, seen = GPT2ForSequenceClassification(GPT2Config(**SIZES, num_labels=1)), []
    model.register_forward_pre_hook(lambda _, args, kwargs: seen.extend([id for id in row if id != PAD] for row in kwargs["input_ids"].tolist()), with_kwargs=True)
    return model, seen


torch.manual_seed(0)
model, trained_on = judge()
pairs = Dataset.from_list([{"chosen": "is it so yes", "rejected": "is it so"}] * 2)
RewardTrainer(model=model, args=RewardConfig(**COMMON, per_device_train_batch_size=2), train_dataset=pairs, processing_class=tokenizer()).train()

model, scored = judge()
ended = []
policy = GPT2LMHeadModel(GPT2Config(**SIZES))
arguments = GRPOConfig(**COMMON, per_device_train_batch_size=16, num_generations=16, max_completion_length=8)


def watch(completion_ids, **_):
    ended.extend(END in ids for ids in completion_ids)
    return [0.0] * len(completion_ids)


GRPOTrainer(model=policy, args=arguments, reward_funcs=[model, watch], reward_processing_classes=[tokenizer(), None], train_dataset=Dataset.from_list([{"prompt": "is it"}] * 16), processing_class=tokenizer()).train()

print(f"RewardTrainer: {sum(row[-1] == END for row in trained_on)} of {len(trained_on)} texts end with the end token")
print(f"GRPOTrainer: {sum(ended)} of {len(ended)} answers ended with the end token, {sum(END in row for row in scored)} of {len(scored)} scored texts hold it")
assert all(row[-1] == END for row in trained_on), "RewardTrainer appends no end token any more"
assert any(ended) and not any(END in row for row in scored), "GRPOTrainer scores the end token now"
PYTHON
echo "as recorded"
