#!/usr/bin/env bash
# peft 0.21.2 with transformers 5.23.0: a reward model's adapter, saved and opened again, gives other scores.
#
# A sequence classifier reads its score at the last token that is not its config's pad_token_id. Trainers set that field
# on the model that they train; GPT-2 has none of its own. An adapter is saved without a config.json, and
# adapter_config.json has no such field, so the model that AutoPeftModelForSequenceClassification builds has no
# pad_token_id and reads the score at the very last token: for a text that ends with the token that pads, at another
# place than in training. No warning names the reason. merge_and_unload and save_pretrained keep the loss.
#
# Seen: the score of one text before saving and after opening, -0.0428 and 0.0182; pad_token_id 0, then None; equal
# again, to the bit, once pad_token_id is set by hand.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0
"$work/venv/bin/pip" install --quiet transformers==5.23.0 peft==0.21.2 accelerate==1.15.0
cd "$work"
HF_HUB_OFFLINE=1 TQDM_DISABLE=1 "$work/venv/bin/python" - <<'PYTHON'
import torch
from peft import AutoPeftModelForSequenceClassification, LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2ForSequenceClassification

torch.manual_seed(0)
sizes = GPT2Config(
    n_layer=1, n_head=2, n_embd=8, n_positions=16, vocab_size=8, num_labels=1, bos_token_id=0, eos_token_id=0
)
GPT2ForSequenceClassification(sizes).save_pretrained("base")
base = GPT2ForSequenceClassification.from_pretrained("base", num_labels=1)
base.config.pad_token_id = 0  # as TRL's RewardTrainer sets it for GPT-2
trained = get_peft_model(base, LoraConfig(task_type="SEQ_CLS", r=2)).eval()
for name, weight in trained.named_parameters():
    if "lora_" in name:
        torch.nn.init.normal_(weight, std=0.3)
trained.save_pretrained("adapter")
opened = AutoPeftModelForSequenceClassification.from_pretrained("adapter", num_labels=1).eval()


def score(model):
    with torch.no_grad():
        return model(torch.tensor([[2, 3, 4, 5, 0]])).logits.item()


before, after, pad = score(trained), score(opened), opened.config.pad_token_id
opened.get_base_model().config.pad_token_id = 0
mended = score(opened)
print(f"score before {before:.4f}, after {after:.4f} with pad_token_id {pad}, mended {mended:.4f}")
assert pad is None and abs(before - after) > 1e-3, "the adapter keeps its padding token now"
assert mended == before, "the padding token no longer explains the difference"
PYTHON
echo "as recorded"
