#!/usr/bin/env bash
# TRL 1.16.0, RewardTrainer with a GPT-2: the end-of-sequence token that it appends to every text is never scored.
#
# GPT-2's tokenizer has no padding token, so RewardTrainer pads with the end-of-sequence token and writes it into the model's config as
# pad_token_id; transformers 5.23.0 then reads the score at the last token that is another, the one before the end. A reward model so trained
# cannot tell an answer that ended from one that was cut off, and a program that reads the score at the last token reads noise. With a padding
# token of its own the same trainer scores the end token.
#
# Seen: without a padding token, the end token's embedding and position get no gradient and the scores of a text with and without it are equal;
# with one, they differ.
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
from transformers import GPT2Config, GPT2ForSequenceClassification, PreTrainedTokenizerFast
from trl import RewardConfig, RewardTrainer

WORDS = ["<end>", "<pad>", "is", "it", "so", "yes", "no", "maybe"]


def scores_with_and_without_end(**pad):
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", **pad)
    torch.manual_seed(0)
    model = GPT2ForSequenceClassification(GPT2Config(n_layer=1, n_head=2, n_embd=8, n_positions=16, vocab_size=len(WORDS), num_labels=1, bos_token_id=0, eos_token_id=0))
    rows = Dataset.from_list([{"chosen": "is it so yes <end>", "rejected": "is it so no <end>"}] * 4)
    arguments = RewardConfig(output_dir="out", max_steps=1, per_device_train_batch_size=4, learning_rate=1e-3, use_cpu=True, bf16=False, report_to=[], save_strategy="no", gradient_checkpointing=False)
    RewardTrainer(model=model, args=arguments, train_dataset=rows, processing_class=fast).train()
    model.eval()
    with torch.no_grad():
        ended, cut = (model(torch.tensor([ids])).logits.item() for ids in ([2, 3, 4, 5, 0], [2, 3, 4, 5]))
    return model.config.pad_token_id, ended, cut


pad, ended, cut = scores_with_and_without_end()
print(f"no padding token: pad_token_id {pad}, score with the end token {ended:.6f}, without {cut:.6f}")
own_pad, own_ended, own_cut = scores_with_and_without_end(pad_token="<pad>")
print(f"a padding token:  pad_token_id {own_pad}, score with the end token {own_ended:.6f}, without {own_cut:.6f}")
assert pad == 0 and abs(ended - cut) < 1e-6, "RewardTrainer scores the end token now"
assert own_pad == 1 and abs(own_ended - own_cut) > 1e-3, "a padding token of its own makes no difference any more"
PYTHON
echo "as recorded"
