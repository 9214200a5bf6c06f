"""PyTorch as a contender of bench.ts: a DPO step, or the scoring of pairs, in the way that the last argument names:

source  as the walkthrough does it: four forward passes, the reference's among them, all logits of all tokens,
        one AdamW
tuned   by hand: chosen and rejected in one batch, logits of the responses' tokens only, the reference's log-probs
        known, fused AdamW
compiled  the same, with the transformer and the head by torch.compile
score   the log-probs of the responses, eight pairs at a time, logits of all tokens: as transformers does it
"""

import json
import os
import sys

import torch
import torch.nn.functional as F
from protocol import serve
from transformers import GPT2LMHeadModel

BETA = 0.1


def padded(rows):
    """Ids and attention mask [B, T], and which targets belong to responses [B, T - 1]; on PyTorch's default device."""
    length = max(len(prompt) + len(response) for prompt, response in rows)
    ids, mask, of_response = (
        torch.zeros(len(rows), length, dtype=torch.long, device="cpu") for _ in range(3)
    )  # built row by row on the CPU, then moved at once
    for row, (prompt, response) in enumerate(rows):
        end = len(prompt) + len(response)
        ids[row, :end] = torch.tensor(prompt + response, device="cpu")
        mask[row, :end] = 1
        of_response[row, len(prompt) : end] = 1
    there = torch.get_default_device()
    return ids.to(there), mask.to(there), of_response[:, 1:].bool().to(there)


def all_logits(model, ids, mask, of_response):
    """Sums [B] of the responses' log-probs, computed from the distribution of every token."""
    logps = torch.log_softmax(model(ids, attention_mask=mask, use_cache=False).logits[:, :-1].float(), -1)
    return (logps.gather(2, ids[:, 1:, None])[..., 0] * of_response).sum(1)


def response_logits(model, ids, mask, of_response):
    """The same, with logits only where they are needed."""
    hidden = model.transformer(ids, attention_mask=mask, use_cache=False).last_hidden_state[:, :-1]
    losses = F.cross_entropy(model.lm_head(hidden[of_response]).float(), ids[:, 1:][of_response], reduction="none")
    row = of_response.nonzero()[:, 0]
    return -torch.zeros(len(ids)).index_add(0, row, losses)


def loaded(task):
    """On PyTorch's default device; eval: no dropout."""
    return GPT2LMHeadModel.from_pretrained(task["model"], dtype=torch.float32).to(torch.get_default_device()).eval()


def groups(model):
    """Matrices decay by lr times 0.1, which is large enough for float32."""
    weights = list(model.parameters())
    return [
        {"params": [w for w in weights if w.dim() > 1], "weight_decay": 0.1},
        {"params": [w for w in weights if w.dim() == 1], "weight_decay": 0.0},
    ]


def steps(way, task, model):
    pairs = task["pairs"]
    chosen, rejected = ([(pair["promptIds"], pair[name]) for pair in pairs] for name in ("chosenIds", "rejectedIds"))
    optimizer = torch.optim.AdamW(groups(model), lr=1e-6, fused=way != "source" or None)
    if way == "source":
        reference = loaded(task)
        batches = [padded(chosen), padded(rejected)]
        sums = lambda of: [all_logits(of, *batch) for batch in batches]
    else:
        batch = padded(chosen + rejected)
        one_sum = torch.compile(response_logits) if way == "compiled" else response_logits
        sums = lambda of: one_sum(of, *batch).chunk(2)
        with torch.no_grad():
            known = [part.clone() for part in sums(model)]

    def step():
        policy_chosen, policy_rejected = sums(model)
        if way == "source":
            with torch.no_grad():
                ref_chosen, ref_rejected = sums(reference)
        else:
            ref_chosen, ref_rejected = known
        loss = -F.logsigmoid(BETA * ((policy_chosen - ref_chosen) - (policy_rejected - ref_rejected))).mean()
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return {"loss": loss.item(), "gradNorm": norm.item()}

    return step


def score(task, model):
    pairs = task["pairs"]

    def repeat():
        sums = []
        with torch.no_grad():
            for start in range(0, len(pairs), 8):
                rows = [
                    (pair["promptIds"], pair[name])
                    for pair in pairs[start : start + 8]
                    for name in ("chosenIds", "rejectedIds")
                ]
                sums += all_logits(model, *padded(rows)).view(-1, 2).tolist()
        return sums

    return repeat


def contender(way, task):
    return score(task, loaded(task)) if way == "score" else steps(way, task, loaded(task))


def main():
    task, way = json.loads(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    repeat = contender(way, task)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=task["policy"] == "bf16" and way != "source")

    def once():
        with autocast:
            return repeat()

    serve(once)


if __name__ == "__main__":
    main()
