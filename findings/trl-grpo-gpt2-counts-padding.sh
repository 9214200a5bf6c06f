#!/usr/bin/env bash
# TRL 1.16.0, GRPOTrainer with a GPT-2: an answer's log-probs depend on how long the other prompts of its batch are.
#
# GRPOTrainer pads prompts on the left and gives the model no positions. transformers 5.23.0 leaves GPT-2's absolute positions counting from
# the padding on, where generate() begins them at the first real token. So the policy that is trained sees other positions than the one that
# sampled, and the "old" log-probs of an answer change with its neighbours. (Models with rotary positions do not notice.)
#
# Seen: the log-probs of the same answer after the same prompt, alone and beside a prompt that is 6 tokens longer, differ by more than 0.01;
# with positions from the attention mask they are equal.
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
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

WORDS = ["<end>", "<pad>", *"abcdefgh"]
tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="a"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<pad>")
torch.manual_seed(0)
model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=16, n_positions=32, vocab_size=len(WORDS), bos_token_id=0, eos_token_id=0, initializer_range=0.5))
arguments = GRPOConfig(output_dir="out", max_steps=1, use_cpu=True, bf16=False, report_to=[], per_device_train_batch_size=2, num_generations=2, gradient_checkpointing=False)
trainer = GRPOTrainer(model=model, args=arguments, reward_funcs=lambda completions, **_: [0.0] * len(completions), train_dataset=Dataset.from_list([{"prompt": "a b"}]), processing_class=fast)
model = trainer.model.eval()

answer = [5, 6, 7]
short, long = [2, 3], [2, 3, 4, 5, 6, 7, 8, 9]
rows = [[1] * 6 + short + answer, long + answer]
batch, mask = torch.tensor(rows), torch.tensor([[0] * 6 + [1] * 5, [1] * 11])
with torch.no_grad():
    logps = lambda ids, mask: trainer._get_per_token_logps_and_entropies(model, ids, mask, len(answer))[0]
    alone = logps(torch.tensor([short + answer]), torch.ones(1, 5, dtype=torch.long))[0]
    beside = logps(batch, mask)[0]
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(batch, attention_mask=mask, position_ids=positions).logits[0, -len(answer) - 1 : -1] / arguments.temperature
    right = logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]
print("alone                     ", [round(x, 4) for x in alone.tolist()])
print("beside a longer prompt    ", [round(x, 4) for x in beside.tolist()])
print("the same, with positions  ", [round(x, 4) for x in right.tolist()])
assert (alone - beside).abs().max() > 0.01, "the log-probs no longer depend on the padding"
assert (alone - right).abs().max() < 1e-5, "positions from the mask no longer give the log-probs of the row alone"
PYTHON
echo "as recorded"
