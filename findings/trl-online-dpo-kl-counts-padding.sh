#!/usr/bin/env bash
# TRL 1.16.0, OnlineDPOTrainer: the KL that it logs includes the padding behind the answers.
#
# objective/kl is meant to say how far the policy is from its reference on the sampled answers. The sum of log-prob differences runs over every
# position of the batch, and an answer that ended early is padded to the length of the longest: what policy and reference think of a padding token
# that nobody sampled is added. objective/non_score_reward and objective/rlhf_reward are made of the same sum. The loss leaves the padding out.
#
# Seen, in the first step of a policy whose reference is another model, 16 answers, 14 of them shorter than the longest:
# logged 0.2657; over the tokens of the answers -0.0325; over the padding 0.2982.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0
"$work/venv/bin/pip" install --quiet transformers==5.23.0 trl==1.16.0 accelerate==1.15.0 datasets==5.2.0
cd "$work"
HF_HUB_OFFLINE=1 TQDM_DISABLE=1 TRL_EXPERIMENTAL_SILENCE=1 "$work/venv/bin/python" - <<'PYTHON'
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

WORDS = ["<end>", "<pad>", "is", "it", "so", "yes"]
words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="it"))
words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", pad_token="<pad>", padding_side="left")
tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
sizes = dict(n_layer=1, n_head=2, n_embd=8, n_positions=32, vocab_size=len(WORDS), bos_token_id=0, eos_token_id=0, pad_token_id=1)
torch.manual_seed(0)
policy = GPT2LMHeadModel(GPT2Config(**sizes, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0))
reference = GPT2LMHeadModel(GPT2Config(**sizes, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0))
kept = []


class Watched(OnlineDPOTrainer):
    def _forward(self, model, prompt_ids, prompt_mask, completion_ids, completion_mask, vision_inputs=None):
        logps = super()._forward(model, prompt_ids, prompt_mask, completion_ids, completion_mask, vision_inputs)
        kept.append((logps.detach(), completion_mask.bool()))
        return logps


arguments = OnlineDPOConfig(output_dir="out", max_steps=1, logging_steps=1, use_cpu=True, bf16=False, report_to=[], save_strategy="no", per_device_train_batch_size=8, max_new_tokens=12, temperature=1.0, disable_dropout=True, gradient_checkpointing=False)
rows = Dataset.from_list([{"prompt": "is it"}] * 8)
trainer = Watched(model=policy, ref_model=reference, reward_funcs=lambda prompts, completions, **_: [float(len(text)) for text in completions], args=arguments, train_dataset=rows, processing_class=tokenizer)
trainer.train()
(logps, mask), (ref_logps, _) = kept[:2]
logged = next(row["objective/kl"] for row in trainer.state.log_history if "objective/kl" in row)
each = logps - ref_logps
print("answers in the batch:", len(mask), "of which shorter than the longest:", int((~mask.all(1)).sum()))
print(f"objective/kl as logged:                      {logged:.4f}")
print(f"the same sum over the tokens of the answers: {(each * mask).sum(1).mean():.4f}")
print(f"and over the padding behind them:            {(each * ~mask).sum(1).mean():.4f}")
everywhere, in_answers = each.sum(1).mean().item(), (each * mask).sum(1).mean().item()
if abs(logged - everywhere) > 1e-4 or abs(logged - in_answers) < 1e-3:
    raise SystemExit("changed: the logged KL is no longer the sum over answers and padding")
PYTHON
