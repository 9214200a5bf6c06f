"""The Python twin of notebooks/07-loss-atlas.ipynb: its losses are TRL 1.16's own (trl_losses.py), its slopes
autograd's.

It stands alone, as its notebook does. What the library says in its errors is written here as it must be printed. Thirty
steps pass on their rounding, so the numbers of the trained policies are bounds, which PyTorch's own are within.
"""

# %% [imports]
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from fit import fit
from order import batches
from preference_losses import loss_function
from printing import not_yet, table, within
from sequences import response_logps
from transformers import GPT2LMHeadModel, GPT2Tokenizer, get_constant_schedule_with_warmup
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
def kto(pair, beta=0.1):
    logps = torch.cat([pair["policyChosenLogps"], pair["policyRejectedLogps"]])
    ref_logps = torch.cat([pair["refChosenLogps"], pair["refRejectedLogps"]])
    mismatched = torch.full_like(ref_logps, -60)
    return trl_kto(
        logps,
        ref_logps,
        torch.tensor([True, False]),
        mismatched,
        mismatched,
        beta=beta,
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
with_beta = lambda name, beta: loss_function(name, 20 * beta if name == "simpo" else beta, **OPTIONS[name])
losses = {name: with_beta(name, 0.1) for name in OPTIONS} | dict(kto=kto)
table([{"loss": name, "at h = 0": at(loss, 0)[0]} for name, loss in losses.items()])


# %% [chosen-slope]
def for_chosen(loss, u):
    x = number(float(u))
    return torch.autograd.grad(loss(pair_at(x, torch.full_like(x, -20))), x)[0].item()


table(
    [
        {"loss": name} | {f"u = {u}": for_chosen(losses[name], u) for u in (-20, 0, 20)}
        for name in ("sigmoid", "nca_pair", "bco_pair", "apo_zero", "apo_down", "sppo_hard")
    ]
)

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


# %% [rank-table]
def ranked(name):
    return lambda pair: trl_dpo(with_held(pair), [name])


table(
    [
        {"loss": name} | {f"h = {h}": at(ranked(name), h)[0] for h in (0, 20, 40)}
        for name in ("sigmoid", "aot", "aot_unpaired")
    ]
)


# %% [kto-curves]
def single(u, kl):
    logps, zeros = torch.full((2,), float(u)), torch.zeros(2)
    return trl_kto(
        logps, zeros, torch.tensor([True, True]), zeros + kl, zeros, beta=0.1, desirable_weight=1, undesirable_weight=1
    )[0].item()


print(f"desirable, u = 15: {single(15, 0):.4f}, after a drift of 15: {single(15, 15):.4f}")

# %% [wants]
rows = []
for name, loss in losses.items():
    left, half, start, right = (at(loss, h)[1] for h in (-100, -50, 0, 100))
    wrong = "gives up" if left > -1e-3 else "pushes harder" if left < 1.3 * half else "keeps pushing"
    learned = "pulls back" if right > 1e-3 else "keeps pushing" if right < -1e-3 else "stops"
    ends = {"h = -100": left, "h = 0": start, "h = 100": right}
    rows.append({"loss": name, **ends, "very wrong": wrong, "long learned": learned})
table(rows)


# %% [targets]
def target(loss):
    low, high = 0.0, 100.0
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (middle, high) if at(loss, middle)[1] < 0 else (low, middle)
    return low


table(
    [
        {"loss": name} | {f"h, β = {beta}": target(with_beta(name, beta)) for beta in (0.1, 0.5)}
        for name in ("cdpo", "exo_pair", "ipo", "sppo_hard", "nca_pair", "apo_down")
    ],
    2,
)


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
matrix = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.0, 0.0, 0.0, 0.0]], requires_grad=True)


def token_logps(answer):
    return F.log_softmax(matrix[:-1], -1).gather(-1, torch.tensor(answer)[:, None])[:, 0]


def largest_slope(chosen, rejected):
    c, r = token_logps(chosen).sum(), token_logps(rejected).sum()
    return torch.autograd.grad(dpo(c, r, c, r), matrix)[0].abs().max().item()


# %% [identical-slopes]
print(
    f"answers 1 2 and 1 3: {largest_slope([1, 2], [1, 3]):.4f}, answers 1 2 and 1 2: "
    f"{largest_slope([1, 2], [1, 2]):.4f}"
)

# %% [identical-caught]
print("row 0: chosen and rejected are the same, so the pair teaches nothing; leave it out")

# %% [empty]
c, r = ((token_logps(answer) * torch.zeros(2)).sum() for answer in ([1, 2], [1, 3]))
loss = -F.logsigmoid(0.1 * (c - r))
print(f"loss {loss.item():.4f}, largest slope {torch.autograd.grad(loss, matrix)[0].abs().max().item():.4f}")
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
sums = {
    "by responseMask": answer.sum(),
    "the same by hand": answer.sum(),
    "EOS alone": answer[-1],
    "with the prompt": scores.sum(),
}
table([{"what": what, "nats": value.item()} for what, value in sums.items()])

# %% [flip-data]
EOS = tokenizer.eos_token_id
preferences = Path(MODEL).parent.parent / "preferences"
TEMPLATE = prompt.split("What is")[0], "\n\n### Response:\n"


def read(split, count):
    """(prompt, chosen, rejected) as ids."""
    rows = [json.loads(line) for line in (preferences / f"{split}.jsonl").read_text().splitlines()[:count]]
    return [
        (
            tokenizer.encode(row["instruction"].join(TEMPLATE)),
            tokenizer.encode(row["chosen"]) + [EOS],
            tokenizer.encode(row["rejected"]) + [EOS],
        )
        for row in rows
    ]


flipped = lambda row: row % 5 == 4
labeled = [
    (prompt, rejected, chosen) if flipped(row) else (prompt, chosen, rejected)
    for row, (prompt, chosen, rejected) in enumerate(read("train", 160))
]
validation = read("validation", 100)
print(f"{len(labeled)} pairs to train on, {sum(map(flipped, range(len(labeled))))} of them flipped")
print(f"{len(validation)} clean ones to judge by")


# %% [flip-reference]
def pair_logps(policy, pairs):
    """[P, 2], of chosen and rejected: sums, and numbers of tokens."""
    rows = [(prompt, answer) for prompt, *both in pairs for answer in both]
    return [of.view(-1, 2) for of in response_logps(policy, rows)]


def logps_of(policy, pairs):
    with torch.no_grad():
        return torch.cat([pair_logps(policy, pairs[n : n + 20])[0] for n in range(0, len(pairs), 20)])


def judged(policy, pairs, reference):
    """DPO's loss, margin and accuracy."""
    margins = 0.1 * (logps_of(policy, pairs) - reference) @ torch.tensor([1.0, -1.0])
    return -F.logsigmoid(margins).mean().item(), margins.mean().item(), (margins > 0).float().mean().item()


reference, validation_reference = logps_of(model, labeled), logps_of(model, validation)
untrained = judged(model, validation, validation_reference)
print(f"loss {untrained[0]:.4f}, reward accuracy {untrained[2]:.2f}")


# %% [flip-run]
def run(name, **options):
    """Thirty steps; then the policy judged on validation, right and flipped pairs."""
    loss = loss_function(name, 0.1, **options)
    policy = GPT2LMHeadModel.from_pretrained(MODEL, dtype=torch.float32).eval()

    def loss_of(rows):
        logps, counts = pair_logps(policy, [labeled[row] for row in rows])
        ref = reference[rows]
        return loss(
            dict(
                policyChosenLogps=logps[:, 0],
                policyRejectedLogps=logps[:, 1],
                refChosenLogps=ref[:, 0],
                refRejectedLogps=ref[:, 1],
                chosenLengths=counts[:, 0],
                rejectedLengths=counts[:, 1],
            )
        ).mean()

    schedule = lambda optimizer: get_constant_schedule_with_warmup(optimizer, 10)
    for _ in fit(policy.parameters(), batches(len(labeled), 8, 30, seed=1), 5e-4, schedule, loss_of):
        pass
    parts = {"validation": judged(policy, validation, validation_reference)}
    for kind, wanted in (("right", False), ("flipped", True)):
        rows = [row for row in range(len(labeled)) if flipped(row) == wanted]
        parts[kind] = judged(policy, [labeled[row] for row in rows], reference[rows])
    return parts


# %% [flip-table]
# Depends on the weights.
# Bounds: all learned the rule (accuracy and margin of validation and right pairs, loss of flipped above right), and the
# validation margins lie in the order cdpo, sigmoid, robust, with cdpo's below its target of 1.39.
RUNS = dict(sigmoid={}, cdpo=dict(labelSmoothing=0.2), robust=dict(labelSmoothing=0.2), ipo={})
MARGINS = dict(sigmoid=(1.1, 2.1), cdpo=(0.3, 1.1), robust=(2.1, 5), ipo=(1, 3))
FLIPPED = dict(sigmoid=(1.1, 1.8), cdpo=(0.7, 1.1), robust=(1.8, 4), ipo=(0.7, 4))
print("trained judged on loss margin accuracy")
for name, options in RUNS.items():
    for kind, (loss, margin, accuracy) in run(name, **options).items():
        if kind == "flipped":
            bounds = within(loss, *FLIPPED[name]), within(margin, high=0), within(accuracy, high=0.3)
        else:
            least, most = MARGINS[name] if kind == "validation" else (0.3, 5)
            bounds = within(loss, high=0.6), within(margin, least, most), within(accuracy, 0.8, 1.01)
        print(name, kind, *bounds)

# %% [exercise-7-1-check]
not_yet(
    "robustLoss(0, 0.1, 0.2)",
    0,
    losses["robust"](pair_at(number(0.0), number(0.0))).item(),
    "ln 2 for every ε where h is 0",
)

# %% [exercise-7-2-check]
wanted = torch.logit(torch.tensor(0.9, dtype=torch.float64)).item() / 0.1
not_yet("restsAt(0.1, 0.1)", 0, wanted, "β h = ln 9, the odds of 0.9 to 0.1")

# %% [exercise-7-3-check]
not_yet("ipoSlope(0, 10, 0.1)", 0, at(losses["ipo"], 0)[1], "the table says so for h = 0")
