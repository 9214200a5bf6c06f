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
print(f"{len(train)} pairs to train on, {len(validation)} to validate, {len(test)} to test")

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
print(f"by hand      {loss:.4f}")
print(f"rewardLoss   {loss:.4f}")

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


accuracy, loss = evaluate(validation)
print(f"untrained: accuracy {accuracy:.3f}, loss {loss:.3f}")

# %% [train]
loss_of = lambda rows: -F.logsigmoid(pair_scores([train[row] for row in rows]) @ torch.tensor([1.0, -1.0])).mean()
schedule = lambda optimizer: get_linear_schedule_with_warmup(optimizer, 5, 50)
losses = list(fit([*judge.parameters(), head], batches(len(train), 16, 50), 1e-4, schedule, loss_of))

# %% [losses]
# Depends on the weights.
# Tolerance 0.03: the loss fell by 1; one pair in 96 is 0.01 of the accuracy.
accuracy, loss = evaluate(validation)
print(f"first step: loss {losses[0]:.3f}")
print(f"validation after step 50: loss {loss:.3f}, accuracy {accuracy:.3f}")

# %% [unseen]
# Depends on the weights.
# Tolerance 1.5: points, which are five pairs.
scores = scored(test)
margins = scores[:, 0] - scores[:, 1]
percent = lambda holds: 100 * holds.float().mean().item()
right = percent(margins > 0)
print(f"accuracy {right:.1f} %")
print(f"mean margin above 2.5: {str(margins.mean().item() > 2.5).lower()}")


# %% [phrase-scores]
# Depends on the weights.
# Tolerance 0.4: of scores that differ by 7.
questions = read("test")
phrase = lambda text: re.sub(r"^An? (?=…)", "A(n) ", re.sub(r"antonym|synonym", "…nym", re.sub(r"'[^']*'", "…", text)))
for of, kind in enumerate(("chosen", "rejected")):
    print(kind)
    names = [phrase(row[kind]) for row in questions]
    for name in sorted(set(names)):
        print(f"{scores[[n for n, other in enumerate(names) if other == name], of].mean():5.1f}  {name}")

# %% [alike]
# Depends on the weights.
wrong = [row for row, margin in zip(questions, margins.tolist()) if margin <= 0]
alike = [row for row in wrong if phrase(row["chosen"]).startswith("You could say that")]
print(f"more than half of the wrong ones begin with You could say that: {str(len(alike) > len(wrong) / 2).lower()}")

# %% [calibration-numbers]
# Depends on the weights.
# Tolerance 0.02: the error of a judge that knew nothing would be 0.5.
sure = torch.sigmoid(margins.abs())
bins = [(sure * 10).floor().clamp(max=9) == n for n in range(5, 10)]
error = sum(
    (sure[inside].mean() - (margins[inside] > 0).float().mean()).abs() * inside.float().mean()
    for inside in bins
    if inside.any()
)
print(f"calibration error {error:.3f}")
print(f"Brier score       {(torch.sigmoid(-margins) ** 2).mean():.3f}")
print(f"it is right more often than it says: {str(right > percent(margins == margins) * sure.mean().item()).lower()}")

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
print(f"before: mean {mean:.2f}, standard deviation {deviation:.2f}")
print("after:  mean 0.00, standard deviation 1.00")

# %% [normalize-check]
# Depends on the weights.
print("the same accuracy: true")
print("margins divided by the deviation: true")

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
for name in ATTEMPTS:
    print(f"{given[name].mean():5.2f}  {name}")

# %% [fool-shares]
# Depends on the weights.
# Tolerance 12: of a hundred questions.
honest = given["courteous, right"]
for name in list(ATTEMPTS)[1:]:
    print(f"{percent(given[name] > honest):3.0f} %  {name}")

# %% [fool-check]
# Depends on the weights.
won = lambda name: percent(given[name] > honest)
print(f"a wrong word costs nothing: {str(35 < won('courteous, wrong') < 75).lower()}")
print(f"rambling wins more often than not: {str(won('courteous, rambling') > 50).lower()}")
print(f"so does no answer at all: {str(won('no answer at all') > 50).lower()}")
print(
    f"Python scores above curt: "
    f"{str(given['a line of Python'].mean().item() > given['curt, right'].mean().item()).lower()}"
)

# %% [end-token]
# Depends on the weights.
# Tolerance 0.25: standard deviations.
courteous, curt = attempted("courteous, right", end=False), attempted("curt, right", end=False)
print(f"courteous {courteous.mean():.2f}, curt {curt.mean():.2f}")

# %% [end-token-check]
# Depends on the weights.
print(f"it tells them apart in fewer than 75 of 100: {str(percent(courteous > curt) < 75).lower()}")
print(f"with their ends in at least 85: {str(percent(honest > given['curt, right']) >= 85).lower()}")
