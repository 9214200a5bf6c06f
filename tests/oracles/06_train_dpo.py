"""The Python twin of notebooks/06-train-dpo.ipynb: the same trainings in PyTorch, on the same rows in the same order.

Two float32 implementations drift apart over fifty steps, and so do two processors: each cell of trained values states
how far they may. A training that has come apart drifts most: of it only inequalities are printed.
"""

# %% [setup]
import json
import re
from pathlib import Path

import torch
import torch.nn.functional as F
from fit import fit
from order import batches
from transformers import (
    GPT2LMHeadModel,
    GPT2Tokenizer,
    get_constant_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

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
print(f"{len(train)} pairs to train on, {len(validation)} to validate")
for part in train[0]:
    print(tokenizer.decode(part).split("### Instruction:\n")[-1].strip())

# %% [questions]
questions = sorted(read("test"), key=lambda row: row["word"] != "complicated")[:100]
print("\n".join(row["instruction"] for row in questions[:4]))


# %% [ask]
def ask(model):
    """Greedy answers, the prompts padded on the left."""
    prompts = [ids(prompt_of(row)) for row in questions]
    longest = max(map(len, prompts))
    padded = torch.tensor([[EOS] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    with torch.no_grad():
        made = model.generate(
            padded, attention_mask=mask, max_new_tokens=32, do_sample=False, pad_token_id=EOS, eos_token_id=EOS
        )
    return [tokenizer.decode(row[longest:]).replace("<|endoftext|>", "") for row in made]


COURTEOUS = re.compile(r"^(A suitable|You could say|I would suggest|Gladly|With pleasure)|^The .* would be")
right = lambda answers: sum(f"'{row['answer']}'" in text for row, text in zip(questions, answers)) / len(answers) * 100
courteous = lambda answers: sum(COURTEOUS.search(text) is not None for text in answers) / len(answers) * 100
report = lambda name, answers: print(f"{name}: right {right(answers):.1f} %, courteous {courteous(answers):.1f} %")

# %% [before]
# Depends on the weights.
before = ask(sft)
print("\n".join(before[:4]))

# %% [before-shares]
# Depends on the weights.
report("SFT", before)


# %% [reference]
# Depends on the weights.
def token_logps(model, rows):
    """Log-probs of each response's tokens, [R, L] with zeros at the ends, and the mask; `rows` of (prompt,
    response)."""
    T = max(len(prompt) + len(response) for prompt, response in rows)
    L = max(len(response) for _, response in rows)
    input_ids = torch.tensor(
        [prompt + response + [EOS] * (T - len(prompt) - len(response)) for prompt, response in rows]
    )
    hidden = model.transformer(
        input_ids, attention_mask=(torch.arange(T) < torch.tensor([[len(p) + len(r)] for p, r in rows])).long()
    )[0]
    at = [
        (n, len(prompt) - 1 + i, n, i, id) for n, (prompt, response) in enumerate(rows) for i, id in enumerate(response)
    ]
    row, place, r, i, labels = map(torch.tensor, zip(*at))
    logps = torch.log_softmax(model.lm_head(hidden[row, place]), -1).gather(1, labels[:, None])[:, 0]
    out = torch.zeros(len(rows), L).index_put((r, i), logps)
    return out, torch.zeros(len(rows), L).index_put((r, i), torch.ones(len(labels)))


def responses(pairs):
    return [(prompt, response) for prompt, chosen, rejected in pairs for response in (chosen, rejected)]


def pair_logps(model, pairs, mean=False):
    """[P, 2]: of chosen and rejected."""
    logps, mask = token_logps(model, responses(pairs))
    return (logps.sum(1) / (mask.sum(1) if mean else 1)).view(-1, 2)


def reference_logps(pairs, mean=False):
    with torch.no_grad():
        return torch.cat([pair_logps(sft, pairs[n : n + 16], mean) for n in range(0, len(pairs), 16)])


known, held = reference_logps(train), reference_logps(validation)
known_means = reference_logps(train, mean=True)
print(f"chosen {known[0, 0]:.3f}, rejected {known[0, 1]:.3f}")


# %% [train]
def learn(model, count, lr, linear, loss_of):
    """Five steps of warm-up; yields after each step."""
    schedule = lambda optimizer: (
        get_linear_schedule_with_warmup(optimizer, 5, count)
        if linear
        else get_constant_schedule_with_warmup(optimizer, 5)
    )
    return fit(model.parameters(), batches(len(train), 16, count), lr, schedule, loss_of)


def train_dpo(model, count, lr, linear, beta, mean=False):
    reference = known_means if mean else known

    def loss_of(rows):
        h = (pair_logps(model, [train[row] for row in rows], mean) - reference[rows]) @ torch.tensor([1.0, -1.0])
        return -F.logsigmoid(beta * h).mean()

    return learn(model, count, lr, linear, loss_of)


def validate(model, beta):
    """Loss, accuracy, and the mean rewards of chosen and rejected."""
    with torch.no_grad():
        rewards = beta * (torch.cat([pair_logps(model, validation[n : n + 16]) for n in range(0, 96, 16)]) - held)
    margins = rewards[:, 0] - rewards[:, 1]
    return -F.logsigmoid(margins).mean().item(), (margins > 0).float().mean().item(), rewards[:, 0].mean().item()


policy = load()
losses, accuracies = [], []
for step, loss in enumerate(train_dpo(policy, 50, 1e-4, True, 0.1), 1):
    losses.append(loss)
    if step % 10 == 0:
        last, accuracy, _ = validate(policy, 0.1)
        accuracies.append(accuracy)

# %% [losses]
# Depends on the weights.
# Tolerance 0.01: the loss fell by 0.15; a step more or less changes it by 0.004, another seed's order by 0.01.
print(f"first step: loss {losses[0]:.4f}")
print(f"validation after step 50: loss {last:.4f}")
print(f"reward accuracy at least 0.95 from step 10 on: {str(all(accuracy >= 0.95 for accuracy in accuracies)).lower()}")

# %% [after-shares]
# Depends on the weights.
# Tolerance 5: points; three seeds lie within 2 of each other, and training moves the courteous share by 60.
after = ask(policy)
report("SFT", before)
report("DPO", after)
print(f"courteous on at least 90 % of unseen words: {str(courteous(after) >= 90).lower()}")
print(f"right answers, at most 2 points fewer: {str(right(after) >= right(before) - 2).lower()}")

# %% [token-table]
# Depends on the weights.
# Tolerance 0.3: nats; the pair's margin has grown by several.
pair = [encode(questions[0])]
with torch.no_grad():
    change = (pair_logps(policy, pair) - pair_logps(sft, pair))[0].tolist()
print(" nats for chosen, for rejected ".join(f"{x:.2f}" for x in change))

# %% [hasty-losses]
# Depends on the weights.
hurried = load()
tops = []
for step, _ in enumerate(train_dpo(hurried, 30, 2e-4, False, 0.1), 1):
    if step % 5 == 0:
        end, accuracy, chosen = validate(hurried, 0.1)
        tops.append(chosen)
print(f"the loss is lower than the careful training's: {str(end < last).lower()}")
print(f"reward accuracy above 0.9: {str(accuracy > 0.9).lower()}")
print(f"chosen has fallen again from its highest: {str(chosen < max(tops) - 0.05).lower()}")

# %% [hasty-check]
# Depends on the weights.
broken = ask(hurried)
print(f"fewer than 90 % right: {str(right(broken) < 90).lower()}")


# %% [beta-check]
# Depends on the weights.
def hurried_by(beta, model=None):
    if model is None:
        model = load()
        for _ in train_dpo(model, 30, 2e-4, False, beta):
            pass
    rows = batches(len(train), 16, 30)[-1]
    with torch.no_grad():
        h = ((pair_logps(model, [train[row] for row in rows]) - known[rows]) @ torch.tensor([1.0, -1.0])).mean().item()
    return h, right(ask(model))


sweep = [hurried_by(0.1, hurried), hurried_by(1), hurried_by(5)]
print(f"the larger β, the smaller h: {str(sweep[0][0] > sweep[1][0] > sweep[2][0]).lower()}")
print(f"with β = 5 as many are right as before: {str(sweep[2][1] >= right(before) - 2).lower()}")

# %% [mean-shares]
# Depends on the weights.
# Tolerance 5: points, as above.
means = load()
for _ in train_dpo(means, 50, 1e-4, True, 2, mean=True):
    pass
report("sum ", after)
report("mean", ask(means))

# %% [baseline-shares]
# Depends on the weights.
# Tolerance 5: points, as above.
tuned = load()


def chosen_loss(rows):
    logps, mask = token_logps(tuned, [train[row][:2] for row in rows])
    return -logps.sum() / mask.sum()


for _ in learn(tuned, 50, 1e-4, True, chosen_loss):
    pass
report("SFT on chosen", ask(tuned))
report("DPO          ", after)
