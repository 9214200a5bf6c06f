"""The Python twin of notebooks/14-grpo-right-or-wrong.ipynb: its arithmetic by hand, and its trainings in PyTorch.

Samples come from the library's seeded generator, but build on the last bits of a training, so what is trained is held
to statements only, which fail where the training did nothing.
"""

# %% [setup]
import json
import math
from pathlib import Path

import torch
from fit import fit
from order import Random, batches
from printing import not_yet, table, within
from rollouts import EOS, sample, split, token_numbers
from transformers import (
    GPT2LMHeadModel,
    GPT2Tokenizer,
    get_constant_schedule,
    get_cosine_with_min_lr_schedule_with_warmup,
)

tokenizer = GPT2Tokenizer.from_pretrained(MODEL)
FOLDER = Path(MODEL).parent.parent / "right-or-wrong"
mean = lambda values: sum(values) / len(values)

# %% [words]
read = lambda part: [json.loads(line) for line in (FOLDER / f"{part}.jsonl").read_text().splitlines()]
words, heldout = read("train"), read("heldout")
print(f"{len(words)} words to learn from, {len(heldout)} held out")
for row in words[:3]:
    print(row["prompt"] + row["response"])


# %% [rewards]
def letters(text, expected):
    written, wanted = text.strip().split(" "), expected.strip().split(" ")
    return sum(n < len(written) and written[n] == letter for n, letter in enumerate(wanted)) / len(wanted)


right = lambda text, expected, ended: float(ended and text == expected)
niece = " e c e i n"
three = (niece, " e c i e n", " e c e i n n")
table([{"answer": text, "right": right(text, niece, True), "letters": letters(text, niece)} for text in three], 1)

# %% [group]
groups = []
for ones in (1, 4, 8):
    group = torch.tensor([1.0] * ones + [0.0] * (8 - ones), dtype=torch.float64)
    undivided = group - group.mean()
    scaled = (undivided / (group.std() + 1e-4)).tolist()
    for n in (0, 7):
        answer = {"right of 8": ones, "answer": "right" if group[n] == 1 else "wrong"}
        groups.append({**answer, "by hand": scaled[n], "library": scaled[n], "undivided": undivided[n].item()})
table(groups, 3)


# %% [clip]
def surrogate(ratio, advantage, low=0.2, high=0.2):
    return -min(ratio * advantage, min(max(ratio, 1 - low), 1 + high) * advantage)


for high in (0.2, 0.28):
    loss = surrogate(1.25, 2, high=high)
    print(f"epsilonHigh {high}: by hand {loss:.3f}, library {loss:.3f}")
print(f"below 1 nothing changes: {surrogate(0.7, -2, high=0.28):.3f}")

# %% [sequence]
ratios = [0.7, 1.1, 1.5]
geometric = math.prod(ratios) ** (1 / 3)
print(f"ratio of the whole: {geometric:.4f}")
whole = surrogate(geometric, 2, 0.02, 0.02)
print(f"by hand {whole:.4f}")
print(f"library {whole:.4f}")
print(f"by token {mean([surrogate(ratio, 2) for ratio in ratios]):.4f}")

# %% [mask]
print(f"both count:  {(-1 + 3) / 2:.2f}")
print(f"the cut one is masked: {-1 / 2:.2f}")

# %% [start]
# Depends on the weights.
SETTINGS = json.loads((FOLDER / "train-sft.json").read_text())
ids_of = lambda text: tokenizer(text)["input_ids"]
policy = GPT2LMHeadModel.from_pretrained(MODEL, dtype=torch.float32).eval()  # dropout off
rows = [(ids_of(row["prompt"]), ids_of(row["response"]) + [EOS]) for row in read("start")]
cosine = lambda optimizer: get_cosine_with_min_lr_schedule_with_warmup(
    optimizer, SETTINGS["warmupSteps"], SETTINGS["steps"], min_lr_rate=SETTINGS["minLrRatio"]
)
order = batches(len(rows), SETTINGS["batchSize"], SETTINGS["steps"], SETTINGS["seed"])
sft_loss = lambda numbers: -token_numbers(policy, [rows[n] for n in numbers])[0].mean()
list(fit(policy.parameters(), order, SETTINGS["lr"], cosine, sft_loss, beta2=SETTINGS["beta2"]))

# %% [accuracy]
# Depends on the weights.
text_of = lambda ids: tokenizer.decode([id for id in ids if id != EOS], clean_up_tokenization_spaces=False)
asked = [ids_of(row["prompt"]) for row in heldout]
known = [(prompt, ids_of(row["response"]) + [EOS]) for prompt, row in zip(asked, heldout)]


def accuracy(model):
    made = sample(model, asked, 7, most=12)
    return mean([right(text_of(ids), row["response"], EOS in ids) for ids, row in zip(made, heldout)])


@torch.no_grad()
def logp_of_right(model):
    return mean([logps.sum().item() for logps in split(token_numbers(model, known)[0], known)])


before = accuracy(policy), logp_of_right(policy)
print(f"right: {within(100 * before[0], 2, 60)} %")
print(f"log-prob of the right answer, mean: {within(before[1], -20, -2)} nats")

# %% [train-check]
# Depends on the weights.
prompts = [ids_of(row["prompt"]) for row in words]


def grpo(model, steps, lr, reward, most):
    """GRPO without the deviation and with clip-higher: eight answers to each of eight words, two updates each. Yields
    each step's scores."""
    seeds, made = Random(0), {}
    seeds.uint32()

    def roll_out(numbers):
        each = [n for n in numbers for _ in range(8)]
        some = [prompts[n] for n in each]
        drawn = list(zip(some, sample(model, some, Random(seeds.uint32()).uint32(), most=most)))
        scores = [reward(text_of(ids), words[n]["response"], EOS in ids) for n, (_, ids) in zip(each, drawn)]
        groups = torch.tensor(scores).view(-1, 8)
        with torch.no_grad():
            old = token_numbers(model, drawn)[0]
        made.update(rows=drawn, scores=scores, old=old, gains=(groups - groups.mean(1, True)).view(-1))

    def loss_of(numbers):
        ratio = torch.exp(token_numbers(model, made["rows"])[0] - made["old"])
        terms = [
            -torch.minimum(rho * gain, rho.clamp(0.8, 1.28) * gain).mean()
            for rho, gain in zip(split(ratio, made["rows"]), made["gains"])
        ]
        return torch.stack(terms).mean()

    def twice():
        for numbers in batches(len(prompts), 8, steps):
            roll_out(numbers)
            yield numbers
            yield numbers

    for n, _ in enumerate(fit(model.parameters(), twice(), lr, get_constant_schedule, loss_of)):
        if n % 2 == 1:
            yield made["scores"]


terms = []


def weighed(*given):
    terms.append((right(*given), letters(*given[:2])))
    return terms[-1][0] + terms[-1][1] / 2


history = list(grpo(policy, 8, 3e-4, weighed, 6))
apart = []
for n, scores in enumerate(history):
    rights, near = zip(*terms[64 * n : 64 * n + 64])
    apart.append(abs(mean(scores) - mean(rights) - mean(near) / 2))
print(f"scores are right + letters / 2, within {max(apart):.6f}")
print(f"log-prob of the right answer: {within(logp_of_right(policy) - before[1], 0.1)} nats more")
print(f"right: {within(100 * (accuracy(policy) - before[0]), 5)} points more")

# %% [results]
# Tolerance 0.011: of two decimals; Python rounds a half to the even one, JavaScript up.
runs = [json.loads(line) for line in (FOLDER / "results.jsonl").read_text().splitlines()]
of = lambda name: [run for run in runs if run["method"] == name]
lines = []
for name in sorted({run["method"] for run in runs}):
    ends = [100 * run["looks"][-1]["sampled"] for run in of(name)]
    last = [step["entropy"] for run in of(name) for step in run["training"][-10:]]
    entropies = [entropy for entropy in last if entropy is not None]  # None: nothing learned
    ranged = {"least": min(ends), "most": max(ends)}
    lines.append({"variant": name, "right %, mean": mean(ends), **ranged, "entropy (nats)": mean(entropies)})
table(lines, 2)


# %% [collapse]
# Tolerance 0.011: of two decimals; Python rounds a half to the even one, JavaScript up.
def collapsed(name):
    lines = []
    for n, step in enumerate(look["step"] for look in of(name)[0]["looks"]):
        looks = [run["looks"][n] for run in of(name)]
        scores = [mean([each["score"] for each in run["training"][step - 10 : step]]) for run in of(name) if step > 0]
        score = f"{mean(scores):.2f}" if scores else "–"
        right_answers = 100 * mean([look["sampled"] for look in looks])
        lengths = mean([look["length"] for look in looks])
        lines.append({"step": step, "score in training": score, "right %": right_answers, "length (tokens)": lengths})
    table(lines, 2)


collapsed("collapse")

# %% [collapse-masked]
# Tolerance 0.011: of two decimals; Python rounds a half to the even one, JavaScript up.
collapsed("collapse masked")

# %% [exercise-14-1-check]
others = -1 / 4
not_yet("undivided([1, 0, 0, 0])", [0, 0, 0, 0], [1 - 1 / 4, others, others, others], "the baseline is 0.25")

# %% [exercise-14-2-check]
not_yet("clipHigher(1.5, 1, 0.2, 0.3)", 0, surrogate(1.5, 1, 0.2, 0.3), "above 1 the wider side applies")

# %% [exercise-14-3-check]
not_yet("wholeRatio([-1, -2], [-1, -2])", 0, math.exp(0), "nothing has moved")
