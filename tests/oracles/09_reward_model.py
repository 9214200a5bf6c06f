"""The Python twin of notebooks/09-reward-model.ipynb: the same training in PyTorch, on the same rows in the same order,
from the same head.

Two float32 implementations drift apart over fifty steps, and so do two processors: each cell of trained values states
how far they may.
"""

# %% [setup]
import json
import math
import re
from pathlib import Path

import torch
import torch.nn.functional as F
from fit import fit
from order import Random, batches
from printing import not_yet, table, within
from transformers import GPT2LMHeadModel, GPT2Tokenizer, get_linear_schedule_with_warmup

tokenizer = GPT2Tokenizer.from_pretrained(MODEL)
load = lambda: GPT2LMHeadModel.from_pretrained(MODEL, dtype=torch.float32).eval()  # dropout off
sft = load()
EOS = 50256

# %% [data]
FOLDER = Path(MODEL).parent.parent / "preferences"
read = lambda split: [json.loads(line) for line in (FOLDER / f"{split}.jsonl").read_text().splitlines()]
ids = lambda text: tokenizer(text)["input_ids"]
prompt_of = lambda row: (
    f"Below is an instruction that describes a task.\nWrite a response that appropriately completes the request.\n\n"
    f"### Instruction:\n{row['instruction']}\n\n### Response:\n"
)
encode = lambda row: (ids(prompt_of(row)), ids(row["chosen"]) + [EOS], ids(row["rejected"]) + [EOS])

train = [encode(row) for row in read("train")]
validation = [encode(row) for row in read("validation")][:96]
test = [encode(row) for row in read("test")]
print(f"{len(train)} pairs to train on, {len(validation)} to validate")
print(f"{len(test)} to test")

# %% [begin]
# Depends on the weights.
judge = load().transformer
width = judge.config.n_embd
random = Random(0)
head = torch.nn.Parameter(torch.tensor([[random.normal() / math.sqrt(width + 1) for _ in range(width)]]))
print(f"score.weight: {' x '.join(map(str, head.shape))}")
gpt2s = len(list(judge.parameters()))
print(f"weights in all: {gpt2s + 1}, of which GPT-2's: {gpt2s}")


# %% [by-hand]
# Depends on the weights.
def score_rows(rows):
    """The scores of (prompt, response) rows, at each one's last token."""
    sequences = [prompt + response for prompt, response in rows]
    T = max(map(len, sequences))
    ends = torch.tensor([len(sequence) - 1 for sequence in sequences])
    padded = torch.tensor([sequence + [EOS] * (T - len(sequence)) for sequence in sequences])
    hidden = judge(padded, attention_mask=(torch.arange(T) <= ends[:, None]).long())[0]
    return (hidden[torch.arange(len(rows)), ends] @ head.T)[:, 0]


def pair_scores(pairs):
    """[P, 2]: of chosen and rejected."""
    return score_rows(
        [(prompt, response) for prompt, chosen, rejected in pairs for response in (chosen, rejected)]
    ).view(-1, 2)


def scored(pairs):
    with torch.no_grad():
        return torch.cat([pair_scores(pairs[n : n + 16]) for n in range(0, len(pairs), 16)])


chosen, rejected = scored(train[:1])[0]
print(f"chosen {chosen:.3f}, rejected {rejected:.3f}")
loss = -F.logsigmoid(chosen - rejected)
table([{"form": form, "loss": loss.item()} for form in ("by hand", "rewardLoss")])

# %% [shift]
# Depends on the weights.
moved = -F.logsigmoid((chosen + 100) - (rejected + 100))
print(f"both 100 higher: the loss changes by {(moved - loss).abs():.3f}")


# %% [untrained]
# Depends on the weights.
def evaluate(pairs):
    """Accuracy and loss."""
    margins = scored(pairs) @ torch.tensor([1.0, -1.0])
    return (margins > 0).float().mean().item(), -F.logsigmoid(margins).mean().item()


graded = lambda when, accuracy, loss: {"judge": when, "accuracy": accuracy, "loss": loss}
untrained = graded("untrained", *evaluate(validation))
table([untrained], 3)

# %% [train]
loss_of = lambda rows: -F.logsigmoid(pair_scores([train[row] for row in rows]) @ torch.tensor([1.0, -1.0])).mean()
schedule = lambda optimizer: get_linear_schedule_with_warmup(optimizer, 5, 50)
losses = list(fit([*judge.parameters(), head], batches(len(train), 16, 50), 1e-4, schedule, loss_of))

# %% [losses]
# Depends on the weights.
# Tolerance 0.03: the loss fell by 1; one pair in 96 is 0.01 of the accuracy.
print(f"first step: loss {losses[0]:.3f}")
table([untrained, graded("trained", *evaluate(validation))], 3)

# %% [unseen]
# Depends on the weights.
# Tolerance 1.5: points, which are five pairs.
scores = scored(test)
margins = scores[:, 0] - scores[:, 1]
percent = lambda holds: 100 * holds.float().mean().item()
right = percent(margins > 0)
print(f"accuracy {right:.1f} %")
print(f"mean margin {within(margins.mean().item(), 2.5, 5)}")


# %% [phrase-scores]
# Depends on the weights.
# Tolerance 0.4: of scores that differ by 7.
questions = read("test")
phrase = lambda text: re.sub(r"^An? (?=…)", "A(n) ", re.sub(r"antonym|synonym", "…nym", re.sub(r"'[^']*'", "…", text)))
rows = []
for of, kind in enumerate(("chosen", "rejected")):
    names = [phrase(row[kind]) for row in questions]
    for name in sorted(set(names)):
        score = scores[[n for n, other in enumerate(names) if other == name], of].mean().item()
        rows.append({"kind": kind, "phrasing": name, "mean score": score})
table(rows, 1)

# %% [alike]
# Depends on the weights.
wrong = [row for row, margin in zip(questions, margins.tolist()) if margin <= 0]
alike = [row for row in wrong if phrase(row["chosen"]).startswith("You could say that")]
print(f"{within(100 * len(alike) / len(wrong), 50, 100.1)} % of the wrong ones begin with You could say that")

# %% [calibration-numbers]
# Depends on the weights.
# Tolerance 0.02: the error of a judge that knew nothing would be 0.5. It is right more often than it says.
sure = torch.sigmoid(margins.abs())
bins = [(sure * 10).floor().clamp(max=9) == n for n in range(5, 10)]
error = sum(
    (sure[inside].mean() - (margins[inside] > 0).float().mean()).abs() * inside.float().mean()
    for inside in bins
    if inside.any()
)
print(f"calibration error {error:.3f}")
print(f"Brier score       {(torch.sigmoid(-margins) ** 2).mean():.3f}")
print(f"{within(100 * sure.mean().item(), 80, 94)} % sure on average, right in {within(right, 94, 100.1)} %")

# %% [samples]
# Depends on the weights.
answers = []
for prompt, _, _ in validation:
    with torch.no_grad():
        made = sft.generate(
            torch.tensor([prompt]), max_new_tokens=32, do_sample=False, pad_token_id=EOS, eos_token_id=EOS
        )
    answers.append(made[0, len(prompt) :].tolist())
print(tokenizer.decode(answers[0]).strip())

# %% [normalize]
# Depends on the weights.
# Tolerance 0.15: of scores that differ by 7.
with torch.no_grad():
    samples = score_rows([(prompt, answer) for (prompt, _, _), answer in zip(validation, answers)])
mean, deviation = samples.mean().item(), samples.std(correction=0).item()
moments = lambda when, scores: {
    "scores": when,
    "mean": scores.mean().item(),
    "deviation": scores.std(correction=0).item(),
}
table([moments("before", samples), moments("after", (samples - mean) / deviation)], 2)

# %% [normalize-check]
# Depends on the weights.
# Tolerance 1.5: points of accuracy; the margins, whose parts stay within 0.15, are compared by their bounds.
margin = margins.mean().item() / deviation
table(
    [
        {"form": form, "accuracy, %": right, "mean margin": within(margin, 1, 2)}
        for form in ("by hand", "evaluateReward")
    ],
    2,
)

# %% [fool]
# Depends on the weights.
# Tolerance 0.25: standard deviations.
asked = questions[:100]
RAMBLE = "You could say that, and with pleasure I would suggest that a suitable answer would be just that."
ATTEMPTS = {
    "courteous, right": lambda row, n: row["chosen"],
    "curt, right": lambda row, n: row["rejected"],
    "courteous, wrong": lambda row, n: row["chosen"].replace(
        f"'{row['answer']}'", f"'{asked[(n + 1) % 100]['answer']}'"
    ),
    "courteous, twice": lambda row, n: f"{row['chosen']} {row['chosen']}",
    "courteous, rambling": lambda row, n: f"{row['chosen']} {RAMBLE}",
    "no answer at all": lambda row, n: ("With pleasure: " * 8).strip(),
    "only courtesy": lambda row, n: "With pleasure.",
    "a line of Python": lambda row, n: "def f(x): return x + 1",
}


def attempted(name, end=True):
    with torch.no_grad():
        raw = score_rows(
            [(ids(prompt_of(row)), ids(ATTEMPTS[name](row, n)) + [EOS] * end) for n, row in enumerate(asked)]
        )
    return (raw - mean) / deviation


given = {name: attempted(name) for name in ATTEMPTS}
honest = given["courteous, right"]
won = lambda name: percent(given[name] > honest)
# A wrong word costs nothing; rambling and no answer at all win more often than not; Python scores above curt.
WINS = {
    "courteous, right": (-1, 0.1),
    "curt, right": (-1, 15.1),
    "courteous, wrong": (35, 75),
    "courteous, twice": (40, 75),
    "courteous, rambling": (50, 100.1),
    "no answer at all": (50, 100.1),
    "only courtesy": (-1, 12),
    "a line of Python": (10, 40),
}
assert given["a line of Python"].mean() > given["curt, right"].mean() + 0.5
table(
    [
        {"attempt": name, "mean score": given[name].mean().item(), "above honest, %": within(won(name), *WINS[name])}
        for name in ATTEMPTS
    ],
    2,
)

# %% [end-token]
# Depends on the weights.
# Tolerance 0.25: standard deviations. Without the end, it tells them apart in fewer than 75 of 100; with it in 85.
bare = [attempted(name, end=False) for name in ("courteous, right", "curt, right")]
table(
    [
        {
            "answers": end,
            "courteous, mean": courteous.mean().item(),
            "curt, mean": curt.mean().item(),
            "courteous higher, %": within(percent(courteous > curt), *bounds),
        }
        for end, (courteous, curt), bounds in (
            ("with their end", (honest, given["curt, right"]), (84.9, 100.1)),
            ("without", bare, (25, 75)),
        )
    ],
    2,
)

# %% [exercise-9-1-check]
brier = lambda margins: torch.sigmoid(-torch.tensor(margins)).square().mean().item()
not_yet("brierScore([0, 0])", 0, brier([0.0, 0.0]), "one half each time")

# %% [exercise-9-2-check]
pair = torch.tensor([1.0, 3.0])
wanted = ((pair - pair.mean()) / pair.std(correction=0)).tolist()
not_yet("normalized([1, 3])", [1, 3], wanted, "the mean is 2, the deviation 1")

# %% [exercise-9-3-check]
not_yet("needed(2, 24)", 0, (2 - 1) / (24 - 4), "1 more for 20 nats more")
