"""The Python twin of notebooks/07-loss-atlas.ipynb: its losses are TRL 1.16's own (trl_losses.py), its slopes
autograd's.

It stands alone, as its notebook does. What the library says in its errors, and the inequalities that its training must
satisfy on any processor, are written here as they must be printed.
"""

# %% [imports]
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from preference_losses import loss_function
from transformers import GPT2LMHeadModel, GPT2Tokenizer
from trl_losses import trl_dpo, trl_kto


# %% [pair-at]
def pair_at(chosen, rejected):
    reference, tokens = torch.full_like(chosen, -60).detach(), torch.full_like(chosen, 10).detach()
    return dict(
        policyChosenLogps=reference + chosen,
        policyRejectedLogps=reference + rejected,
        refChosenLogps=reference,
        refRejectedLogps=reference,
        chosenLengths=tokens.long(),
        rejectedLengths=tokens.long(),
    )


def number(x):
    return torch.tensor([x], dtype=torch.float64, requires_grad=True)


# %% [at]
def at(loss, h):
    x = number(float(h))
    value = loss(pair_at(x / 2, x / -2))
    return value.item(), torch.autograd.grad(value.sum(), x)[0].item()


value, slope = at(loss_function("sigmoid", 0.1), 6)
print(f"loss {value:.6f}, slope {slope:.6f}")


# %% [kto]
def kto(pair):
    logps = torch.cat([pair["policyChosenLogps"], pair["policyRejectedLogps"]])
    ref_logps = torch.cat([pair["refChosenLogps"], pair["refRejectedLogps"]])
    mismatched = torch.full_like(ref_logps, -60)
    return trl_kto(
        logps,
        ref_logps,
        torch.tensor([True, False]),
        mismatched,
        mismatched,
        beta=0.1,
        desirable_weight=1,
        undesirable_weight=1,
    )[0]


print(f"{at(kto, 0)[0]:.4f}")

# %% [start]
OPTIONS = dict(
    sigmoid={},
    cdpo=dict(labelSmoothing=0.1),
    robust=dict(labelSmoothing=0.1),
    hinge={},
    exo_pair=dict(labelSmoothing=1e-3),
    discopop=dict(discopopTau=0.05),
    ipo={},
    sigmoid_norm={},
    nca_pair={},
    bco_pair={},
    sppo_hard={},
    apo_zero={},
    apo_down={},
    aot={},
    aot_unpaired={},
    sft={},
    cpo=dict(nllCoef=1.0),
    simpo=dict(gamma=1.0),
    orpo={},
)
losses = {
    name: loss_function(name, 2.0 if name == "simpo" else 0.1, **options) for name, options in OPTIONS.items()
} | dict(kto=kto)
for name, loss in losses.items():
    print(f"{name:12} {at(loss, 0)[0]:.4f}")


# %% [chosen-slope]
def fixed(x):
    return f"{round(x, 4) + 0:9.4f}"


def for_chosen(loss, u):
    x = number(float(u))
    return torch.autograd.grad(loss(pair_at(x, torch.full_like(x, -20))), x)[0].item()


for name in ["sigmoid", "nca_pair", "bco_pair", "apo_zero", "apo_down", "sppo_hard"]:
    print(f"{name:12} {' '.join(fixed(for_chosen(losses[name], u)) for u in (-20, 0, 20))}")

# %% [rank]
HELD = dict(
    policyChosenLogps=-45.0,
    policyRejectedLogps=-75.0,
    refChosenLogps=-50.0,
    refRejectedLogps=-70.0,
    chosenLengths=10,
    rejectedLengths=10,
)


def with_held(pair):
    return {name: torch.cat([tensor, torch.full_like(tensor, HELD[name])]) for name, tensor in pair.items()}


for name in ["sigmoid", "aot", "aot_unpaired"]:
    ranked = lambda pair: trl_dpo(with_held(pair), [name])
    print(f"{name:12} {'  '.join(f'{at(ranked, h)[0]:.4f}' for h in (0, 20, 40))}")


# %% [kto-curves]
def single(u, kl):
    logps, zeros = torch.full((2,), float(u)), torch.zeros(2)
    return trl_kto(
        logps, zeros, torch.tensor([True, True]), zeros + kl, zeros, beta=0.1, desirable_weight=1, undesirable_weight=1
    )[0].item()


print(f"desirable, u = 15: {single(15, 0):.4f}, after a drift of 15: {single(15, 15):.4f}")

# %% [wants]
for name, loss in losses.items():
    left, half, start, right = (at(loss, h)[1] for h in (-100, -50, 0, 100))
    wrong = "gives up" if left > -1e-3 else "pushes harder" if left < 1.3 * half else "keeps pushing"
    learned = "pulls back" if right > 1e-3 else "keeps pushing" if right < -1e-3 else "stops"
    print(f"{name:12} {' '.join(map(fixed, (left, start, right)))}   wrong: {wrong}; learned: {learned}")


# %% [targets]
def target(loss):
    low, high = 0.0, 100.0
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (middle, high) if at(loss, middle)[1] < 0 else (low, middle)
    return low


for name in ["cdpo", "exo_pair", "ipo", "sppo_hard", "nca_pair", "apo_down"]:
    print(f"{name:12} h = {target(losses[name]):.2f}")


# %% [shared]
def dpo(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta=0.1):
    """The reference is a constant."""
    return -F.logsigmoid(beta * ((policy_chosen - policy_rejected) - (ref_chosen - ref_rejected).detach()))


def train(reference):
    weights = torch.tensor([-10.0, -12.0], requires_grad=True)
    optimizer = torch.optim.SGD([weights], lr=20)
    for _ in range(3):
        loss = dpo(*weights, *reference(weights))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"loss {loss.item():.4f}, chosen now {weights[0].item():.4f}")


train(lambda weights: weights)

# %% [shared-remedy]
kept = torch.tensor([-10.0, -12.0])
train(lambda weights: kept)


# %% [detached]
def slope_through(change):
    x = number(-60.0)
    loss = losses["sigmoid"](pair_at(number(0.0), number(0.0)) | dict(policyChosenLogps=change(x)))
    slope = torch.autograd.grad(loss, x, allow_unused=True)[0]
    return 0.0 if slope is None else slope.item()


print(f"as it should be: {slope_through(lambda x: x):.4f}")
print(f"detached: {slope_through(lambda x: x.detach()):.4f}")
print("Cannot compute gradient of y=f(x) with respect to x")  # TensorFlow.js

# %% [beta]
value, slope = at(lambda pair: dpo(*list(pair.values())[:4], beta=0.0), 6)
print(f"at h = 6: loss {value:.4f}, slope {slope + 0:.4f}")
print("beta must be a number above 0, got 0")

# %% [identical]
table = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.0, 0.0, 0.0, 0.0]], requires_grad=True)


def token_logps(answer):
    return F.log_softmax(table[:-1], -1).gather(-1, torch.tensor(answer)[:, None])[:, 0]


def largest_slope(chosen, rejected):
    c, r = token_logps(chosen).sum(), token_logps(rejected).sum()
    return torch.autograd.grad(dpo(c, r, c, r), table)[0].abs().max().item()


print(
    f"answers 1 2 and 1 3: {largest_slope([1, 2], [1, 3]):.4f}, answers 1 2 and 1 2: "
    f"{largest_slope([1, 2], [1, 2]):.4f}"
)

# %% [identical-caught]
print("row 0: chosen and rejected are the same, so the pair teaches nothing; leave it out")

# %% [empty]
c, r = ((token_logps(answer) * torch.zeros(2)).sum() for answer in ([1, 2], [1, 3]))
loss = -F.logsigmoid(0.1 * (c - r))
print(f"loss {loss.item():.4f}, largest slope {torch.autograd.grad(loss, table)[0].abs().max().item():.4f}")
print("row 0 has no response token to score; check its responseMask")

# %% [mask-batch]
tokenizer = GPT2Tokenizer.from_pretrained(MODEL)
prompt = (
    "Below is an instruction that describes a task.\nWrite a response that appropriately completes the request.\n\n"
    "### Instruction:\nWhat is an antonym of 'complicated'?\n\n### Response:\n"
)
prompt_ids = tokenizer.encode(prompt)
answers = ["A suitable antonym for 'complicated' would be 'simple'.", "An antonym of 'complicated' is 'simple'."]
answer_ids = [tokenizer.encode(answer) + [tokenizer.eos_token_id] for answer in answers]


# %% [mask-decode]
def text(ids):
    return json.dumps(tokenizer.decode(ids, clean_up_tokenization_spaces=False), ensure_ascii=False)


for ids in answer_ids:
    print(f"inside: {text(ids)}")
    print(f"first: {text(ids[:1])}, last: {text(ids[-1:])}, {len(ids)} tokens")
    print(f"before: {len(prompt_ids)} tokens, ending in {text(prompt_ids[-4:])}")
    print(f"after: {max(map(len, answer_ids)) - len(ids)} tokens of padding")

# %% [mask-sums]
# Depends on the weights.
model = GPT2LMHeadModel.from_pretrained(MODEL, dtype=torch.float32).eval()
ids = torch.tensor([prompt_ids + answer_ids[0]])
with torch.no_grad():
    scores = F.log_softmax(model(ids).logits[0, :-1], -1).gather(-1, ids[0, 1:, None])[:, 0]
answer = scores[-len(answer_ids[0]) :]
print(f"by responseMask:  {answer.sum().item():.4f}")
print(f"the same by hand: {answer.sum().item():.4f}")
print(f"EOS alone:        {answer[-1].item():.4f}")
print(f"with the prompt:  {scores.sum().item():.4f}")

# %% [flip-data]
preferences = Path(MODEL).parent.parent / "preferences"
rows, clean_rows = (
    (preferences / f"{split}.jsonl").read_text().splitlines()[:count]
    for split, count in (("train", 160), ("validation", 100))
)
flips = sum(row % 5 == 4 for row in range(len(rows)))
print(f"{len(rows)} pairs to train on, {flips} of them flipped; {len(clean_rows)} clean ones to judge by")

# %% [flip-reference]
print(f"loss {at(losses['sigmoid'], 0)[0]:.4f}, reward accuracy {float(0.1 * 0 > 0.1 * 0):.2f}")

# %% [flip-sigmoid]
# Depends on the weights.
INEQUALITIES = """reward accuracy on validation above 0.8: true
margin on rightly labelled pairs above 0.3: true
loss on flipped pairs above that on the others: true"""
print(INEQUALITIES)

# %% [flip-cdpo]
# Depends on the weights.
print(INEQUALITIES)

# %% [flip-robust]
# Depends on the weights.
print(INEQUALITIES)

# %% [flip-ipo]
# Depends on the weights.
print(INEQUALITIES)

# %% [flip-compare]
# Depends on the weights.
print("margins: cdpo below sigmoid, sigmoid below robust: true")
print("cdpo's stays below its target of 1.39: true")
print("flipped pairs cost least under cdpo, most under robust: true")
