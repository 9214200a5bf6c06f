"""The Python twin of notebooks/08-your-own-data.ipynb: what it reads, by Python's tokenizer, and its short trainings on
pairs and on thumbs in PyTorch, on the same rows in the same order. What the library says of a bad row, and the
inequalities that the longer training must satisfy on any processor, are written here as they must be printed.
"""

# %% [setup]
import json
from collections import Counter
from pathlib import Path

import torch
import torch.nn.functional as F
from fit import fit
from order import Random, batches
from printing import not_yet, table
from sequences import response_logps
from transformers import GPT2LMHeadModel, GPT2Tokenizer, get_linear_schedule_with_warmup

tokenizer = GPT2Tokenizer.from_pretrained(MODEL)
load = lambda: GPT2LMHeadModel.from_pretrained(MODEL, dtype=torch.float32).eval()  # dropout off
policy = load()
window = policy.config.n_positions
DATA = Path(MODEL).parent.parent / "preferences" / "validation.jsonl"
EOS = 50256
alpaca = lambda instruction: (
    f"Below is an instruction that describes a task.\nWrite a response that appropriately completes the request.\n\n"
    f"### Instruction:\n{instruction}\n\n### Response:\n"
)
rows = [json.loads(line) for line in DATA.read_text().splitlines()]
ids = lambda text: tokenizer(text)["input_ids"]
pairs = [(ids(alpaca(row["instruction"])), ids(row["chosen"]) + [EOS], ids(row["rejected"]) + [EOS]) for row in rows]

# %% [report]
share = lambda count: f"{count} of {len(pairs)} ({100 * count / len(pairs):.1f} %)"
print(f"{len(pairs)} pairs, for train-dpo, train-reward, train-kto")
print(
    f"chosen is longer than rejected in {share(sum(len(chosen) > len(rejected) for _, chosen, rejected in pairs))}, "
    f"equally long in {share(sum(len(chosen) == len(rejected) for _, chosen, rejected in pairs))}"
)
too_long = sum(len(prompt) + max(len(chosen), len(rejected)) > window for prompt, chosen, rejected in pairs)
print(f"longer than the model's window of {window} tokens: {share(too_long)}")
prompts = Counter(tuple(prompt) for prompt, _, _ in pairs)
repeated = len(pairs) - len({json.dumps(pair) for pair in pairs})
print(
    f"repeat an earlier row: {share(repeated)}; {sum(count > 1 for count in prompts.values())} prompts in more than "
    f"one row"
)
assert all(
    ids(alpaca(row["instruction"]) + text) == ids(alpaca(row["instruction"])) + ids(text)
    for row in rows
    for text in (row["chosen"], row["rejected"])
)
print("no row would have other tokens across the end of its prompt")

# %% [forms-read]
print(
    "left out: ../runs/forms.jsonl: line 4: chosen and rejected are the same, so the pair prefers nothing; leave it out"
)
for prompt in ("Say hello.\n", alpaca("Say hello."), alpaca("Say hello.")):
    print(json.dumps(prompt[-40:]))

# %% [read]
longest = max(len(prompt) + max(len(chosen), len(rejected)) for prompt, chosen, rejected in pairs)
print(f"{len(pairs)} pairs, the longest of {longest} tokens")
print(f"the window has {window}")
print(
    f"the chosen answer is the longer one in {sum(len(chosen) > len(rejected) for _, chosen, rejected in pairs)} "
    f"of them"
)

# %% [look]
for part in pairs[0]:
    print(tokenizer.decode(part)[-60:])

# %% [split]
shuffled = Random(1).shuffle(pairs)
held, train = shuffled[: len(pairs) // 5], shuffled[len(pairs) // 5 :]
print(f"{len(train)} to train on, {len(held)} held back")


# %% [sft]
def train_on(model, order, lr, warmup, loss_of):
    """The loss of the first step."""
    schedule = lambda optimizer: get_linear_schedule_with_warmup(optimizer, warmup, len(order))
    return list(fit(model.parameters(), order, lr, schedule, loss_of))[0]


def sft_loss(rows):
    sums, counts = response_logps(policy, [train[row][:2] for row in rows])
    return -sums.sum() / counts.sum()


train_on(policy, batches(len(train), 8, 5), 2e-5, 0, sft_loss)

# %% [dpo-check]
# Depends on the weights.
# Bounds for any processor: the loss that is kept is the lowest, and more than 0.05 below ln 2.
print("kept: loss {below 0.643}, 0.000 above the lowest")
print("reward accuracy {0.9 to 1.01}")

# %% [export]
print(
    "\n".join(
        sorted(
            [
                "README.md",
                "config.json",
                "generation_config.json",
                "merges.txt",
                "model.safetensors",
                "tokenizer.json",
                "tokenizer_config.json",
                "vocab.json",
            ]
        )
    )
)

# %% [reopen]
print(0)

# %% [thumbs]
in_file_order = [pair for pair in pairs if pair in train]
thumbs = [(prompt, answer, up) for prompt, *both in in_file_order for answer, up in zip(both, (True, False))]
print(f"{len(train)} pairs are {len(thumbs)} rows, {sum(up for _, _, up in thumbs)} with a thumb up")

# %% [thumbs-learn]
STEPS, LR, WARMUP, BETA = 12, 2e-4, 2, 0.1
answers = lambda pairs: [(prompt, answer) for prompt, *both in pairs for answer in both]
log_ratios = lambda model, rows: response_logps(model, rows)[0] - response_logps(policy, rows)[0].detach()


def learn(order, loss_of):
    model = load()
    model.load_state_dict(policy.state_dict())
    first = train_on(model, order, LR, WARMUP, lambda rows: loss_of(model, rows))
    with torch.no_grad():
        margins = BETA * (log_ratios(model, answers(held)).view(-1, 2) @ torch.tensor([1.0, -1.0]))
    return first, margins.mean().item(), (margins > 0).float().mean().item()


def dpo_loss(model, rows):
    h = log_ratios(model, answers([train[row] for row in rows])).view(-1, 2) @ torch.tensor([1.0, -1.0])
    return -F.logsigmoid(BETA * h).mean()


def kto_loss(thumbs):
    def loss_of(model, rows):
        batch = [thumbs[row] for row in rows]
        mismatched = [(prompt, batch[n - 1][1]) for n, (prompt, _, _) in enumerate(batch)]
        with torch.no_grad():
            point = log_ratios(model, mismatched).mean().clamp(min=0)
        sign = torch.tensor([1.0 if up else -1.0 for _, _, up in batch])
        u = log_ratios(model, [(prompt, answer) for prompt, answer, _ in batch])
        return (1 - torch.sigmoid(BETA * sign * (u - point))).mean()

    return loss_of


# %% [thumbs-dpo]
by_pairs = learn(batches(len(train), 4, STEPS), dpo_loss)
print(f"first step: loss {by_pairs[0]:.4f}")

# %% [thumbs-kto]
by_thumbs = learn(batches(len(thumbs), 8, STEPS), kto_loss(thumbs))
print(f"first step: loss {by_thumbs[0]:.4f}")

# %% [thumbs-single]
single = [thumb for n, thumb in enumerate(thumbs) if n % 4 in (0, 3)]
print(f"{len(single)} thumbs for {len({tuple(prompt) for prompt, _, _ in single})} questions")
by_single = learn(batches(len(single), 8, STEPS), kto_loss(single))

# %% [thumbs-table]
# Depends on the weights.
# Tolerance 0.03: a pair more or less changes the accuracy by 0.025; without training, margins and accuracies are 0.
learned = {"DPO, pairs": by_pairs, "KTO, thumbs": by_thumbs, "KTO, one each": by_single}
table(
    [
        {"trained": name, "reward margin": margin, "reward accuracy": accuracy}
        for name, (_, margin, accuracy) in learned.items()
    ],
    2,
)

# %% [exercise-8-1-check]
votes = {"first": 3, "second": 1}
ranked = json.dumps(sorted(votes, key=votes.get, reverse=True))
print(f"not yet: voted(3, 1)\n  is null\n  should be {ranked}\n  because the first has more votes")

# %% [exercise-8-2-check]
leaking = sum(prompt in {"a", "b"} for prompt in ("b", "c"))
not_yet('leaks(["a", "b", "b"], ["b", "c"])', 0, leaking, "only b is in both")

# %% [exercise-8-3-check]
not_yet("undesirableWeight(160, 40)", 1, 160 / (4 / 3 * 40), "four thumbs up for one down: 4 / (4/3)")
