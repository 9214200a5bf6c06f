"""The Python twin of notebooks/10-train-ppo.ipynb: the same rollouts and updates in PyTorch.

It draws from the library's seeded generator, so that the first iteration has the same answers and is held to it number
by number. Later iterations build on the last bits of float32. On the machine where this was written all ten draw the
library's answers; on another, one may differ, and then all that follow: of them only fractions, with a wide tolerance,
and bounds are printed.
"""

# %% [setup]
import json
import re
from collections import Counter
from itertools import islice
from pathlib import Path

import torch
from order import Random, batches
from printing import not_yet, table, within
from rollouts import EOS, sample, split, token_numbers
from transformers import GPT2LMHeadModel, GPT2Tokenizer

tokenizer = GPT2Tokenizer.from_pretrained(MODEL)
load = lambda: GPT2LMHeadModel.from_pretrained(MODEL, dtype=torch.float32).eval()  # dropout off
sft = load()

# %% [data]
FOLDER = Path(MODEL).parent.parent / "preferences"
read = lambda split: [json.loads(line) for line in (FOLDER / f"{split}.jsonl").read_text().splitlines()]
prompt_of = lambda row: tokenizer(
    f"Below is an instruction that describes a task.\nWrite a response that appropriately completes the request.\n\n"
    f"### Instruction:\n{row['instruction']}\n\n### Response:\n"
)["input_ids"]
prompts = [prompt_of(row) for row in read("train")]
print(f"{len(prompts)} prompts, such as:")
print(tokenizer.decode(prompts[0]))

# %% [reward]
COURTEOUS = re.compile(r"^(A suitable|You could say|I would suggest|Gladly|With pleasure)|^The .* would be")
courtesy = lambda text: 1.0 if COURTEOUS.search(text) else 0.0

# %% [questions]
questions = read("test")[:100]
print("\n".join(row["instruction"] for row in questions[:3]))


# %% [ask]
class Policy(torch.nn.Module):
    """The language model, and the value head on its last hidden states."""

    def __init__(self):
        super().__init__()
        self.model = load()
        self.v_head = torch.nn.Linear(self.model.config.n_embd, 1)
        torch.nn.init.zeros_(self.v_head.weight)
        torch.nn.init.zeros_(self.v_head.bias)


mean = lambda values: sum(values) / len(values)
text_of = lambda ids: tokenizer.decode([id for id in ids if id != EOS], clean_up_tokenization_spaces=False)


def ask(model):
    return [text_of(ids) for ids in sample(model, [prompt_of(row) for row in questions], 1, 0.7)]


right = lambda answers: sum(f"'{row['answer']}'" in text for row, text in zip(questions, answers)) / len(answers) * 100
courteous = lambda answers: sum(map(courtesy, answers)) / len(answers) * 100
judged = lambda name, answers: {"model": name, "right %": right(answers), "courteous %": courteous(answers)}

# %% [before]
# Depends on the weights.
# Tolerance 2: points; a draw at the edge between two tokens may fall on the other side.
before = ask(sft)
table([judged("before", before)])
print("\n".join(before[:3]))


# %% [rollout]
# Depends on the weights.
def roll_out(policy, numbers, seed, reward, coef, temperature):
    """What is held fixed during an iteration's updates; rewards are not whitened, gamma is 1 and lambda 0.95."""
    chosen = [prompts[number] for number in numbers]
    rows = list(zip(chosen, sample(policy.model, chosen, seed, temperature)))
    with torch.no_grad():
        logps, values = token_numbers(policy.model, rows, temperature, policy.v_head)
        refs = token_numbers(sft, rows, temperature)[0]
    scores = [reward(text_of(answer)) for _, answer in rows]
    rewards, raw = split(-coef * (logps - refs), rows), []
    for reward_row, value, score in zip(rewards, split(values, rows), scores):
        reward_row[-1] += score
        delta = reward_row + torch.cat([value[1:], value.new_zeros(1)]) - value
        powers = 0.95 ** torch.arange(len(delta))
        raw.append(torch.stack([(powers[: len(delta) - t] * delta[t:]).sum() for t in range(len(delta))]))
    raw = torch.cat(raw)
    return {
        "rows": rows,
        "scores": scores,
        "logps": logps,
        "refs": refs,
        "values": values,
        "kl": (logps - refs).sum().item() / len(rows),
        "rewards": rewards,
        "raw": raw,
        "returns": raw + values,
        "advantages": (raw - raw.mean()) / raw.std(),
    }


def update(policy, optimizer, made, value_coef, temperature):
    """One of an iteration's updates, on all of its tokens: what is logged of it, before it changes the weights."""
    logps, values = token_numbers(policy.model, made["rows"], temperature, policy.v_head)
    ratio, gain = torch.exp(logps - made["logps"]), made["advantages"]
    plain, clipped = -gain * ratio, -gain * ratio.clamp(0.8, 1.2)
    near = values.clamp(made["values"] - 0.2, made["values"] + 0.2)
    value_loss = torch.maximum((values - made["returns"]) ** 2, (near - made["returns"]) ** 2).mean() / 2
    policy_loss = torch.maximum(plain, clipped).mean()
    optimizer.zero_grad()
    (policy_loss + value_coef * value_loss).backward()
    norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
    optimizer.step()
    return {
        "mean": ratio.mean().item(),
        "deviation": ratio.std().item(),
        "clipped": (clipped > plain).float().mean().item(),
        "policy": policy_loss.item(),
        "value": value_loss.item(),
        "norm": norm.item(),
    }


def optimizer_of(policy, lr):
    return torch.optim.AdamW(policy.parameters(), lr=lr, eps=1e-5, weight_decay=0)


def train(policy, steps, lr=3e-4, reward=courtesy, coef=0.05, value_coef=0.1, temperature=0.7):
    """PPO on 32 prompts a step, four updates each; yields each rollout and its updates."""
    optimizer = optimizer_of(policy, lr)
    seeds = Random(0)
    seeds.uint32()
    for numbers in batches(len(prompts), 32, steps):
        made = roll_out(policy, numbers, Random(seeds.uint32()).uint32(), reward, coef, temperature)
        yield made, [update(policy, optimizer, made, value_coef, temperature) for _ in range(4)]


policy = Policy()
training = train(policy, 10)
history = [next(training)]
rollout, updates = history[0]
print(f"{len(rollout['rows'])} answers, {len(rollout['logps'])} tokens")
print(f"{sum(EOS in answer for _, answer in rollout['rows'])} ended by themselves")
print(f"mean score {mean(rollout['scores']):.4f}")
for n in range(3):
    print(f"{rollout['scores'][n]:.0f}  {text_of(rollout['rows'][n][1])}")

# %% [table]
# Depends on the weights.
per_answer = {
    key: split(rollout[key], rollout["rows"]) for key in ("logps", "refs", "values", "raw", "returns", "advantages")
}
lengths = [len(answer) for _, answer in rollout["rows"]]
short = min((n for n in range(32) if rollout["scores"][n] == 1), key=lambda n: lengths[n])
tokens_of = lambda n: [tokenizer.decode([id]) for id in rollout["rows"][n][1]]
names = [json.dumps(token) for token in tokens_of(short)]
rewards = rollout["rewards"][short]
table(
    [
        {
            "token": token,
            "logp": logp,
            "ref logp": ref,
            "KL": logp - ref,
            "reward": reward,
            "value": value,
            "return": returned,
            "advantage": advantage,
        }
        for token, reward, (logp, ref, value, _, returned, advantage) in zip(
            names, rewards.tolist(), zip(*(of[short].tolist() for of in per_answer.values())), strict=True
        )
    ]
)

# %% [gae]
# Depends on the weights.
powers = [0.95 ** (lengths[short] - 1 - t) for t in range(lengths[short])]
table(
    [
        {"token": token, "by hand": power, "library": raw}
        for token, power, raw in zip(names, powers, per_answer["raw"][short].tolist(), strict=True)
    ]
)

# %% [whiten]
# Depends on the weights.
advantages = per_answer["advantages"]
curt = advantages[rollout["scores"].index(0)]
whole = rollout["advantages"]
table([{"mean of all": whole.mean().item(), "standard deviation": whole.std().item()}])
table([{"a curt answer, from": curt.min().item(), "to": curt.max().item()}])

# %% [advantages]
# Depends on the weights.
# Tolerance 0.01: two digits are printed, and the third may round the other way.
print("advantage")
for n in (0, 1, 2, short):
    tokens = [f"{token.replace(' ', '·')} {gain:.2f}" for token, gain in zip(tokens_of(n), advantages[n])]
    print(f"score {rollout['scores'][n]:.0f}: {' | '.join(tokens)}")

# %% [updates]
# Depends on the weights.
# Tolerance 0.0005: a ratio's fourth digit; a token more or less of the 433 that is clipped would be 0.0023.
table(
    [
        {
            "update": n,
            "ratio, mean": of["mean"],
            "deviation": of["deviation"],
            "clipped": of["clipped"],
            "policy loss": of["policy"],
            "value loss": of["value"],
            "gradient norm": of["norm"],
        }
        for n, of in enumerate(updates, 1)
    ]
)

# %% [value-loss]
# Depends on the weights.
table(
    [
        {"form": "by hand", "value loss": (rollout["returns"] ** 2).mean().item() / 2},
        {"form": "library", "value loss": updates[0]["value"]},
    ]
)

# %% [clip]
# Depends on the weights.
# Tolerance 0.01: of the two digits that are printed the last; four of 433 tokens.
with torch.no_grad():
    moved = token_numbers(policy.model, rollout["rows"], 0.7)[0]
ratio = torch.exp(moved - rollout["logps"])
clipped = lambda e: ((whole > 0) & (ratio > 1 + e)) | ((whole <= 0) & (ratio < 1 - e))
table([{"clip range": e, "clipped, fraction": clipped(e).float().mean().item()} for e in (0.05, 0.1, 0.2, 0.3, 0.5)])

# %% [train-check]
# Depends on the weights.
history += training
last = history[-1][0]
most = max(mean([of["clipped"] for of in step]) for _, step in history)
table(
    [
        {
            "mean score": within(mean(last["scores"]), 0.8, 1.01),
            "KL of an answer": within(last["kl"], 1, 12),
            "largest clip fraction": within(most, 0, 0.2),
        }
    ]
)

# %% [after-shares]
# Depends on the weights.
# Tolerance 10: points; training moves the courteous percentage by 66.
after = ask(policy.model)
table([judged("before", before), judged("after", after)])

# %% [phrase]
# Depends on the weights.
(_, count), *_ = Counter(text[:6] for text in after).most_common(1)
print(f"{within(count, 50, 101)} of {len(after)} answers begin alike")

# %% [temperature]
# Depends on the weights.
with torch.no_grad():
    at1 = token_numbers(sft, rollout["rows"], 1)[0]
kl = lambda name, now, ref: {"log-probs": name, "KL": (now - ref).sum().item() / 32}
table(
    [
        kl("both at 0.7", rollout["logps"], rollout["refs"]),
        kl("the policy's at 1 by mistake", at1, rollout["refs"]),
        kl("the reference's at 1", rollout["logps"], at1),
    ]
)

# %% [padding]
# Depends on the weights.
L, tokens = max(lengths), sum(lengths)
print(f"{tokens} tokens on 32 x {L} positions")
print(f"a fraction of {tokens / (32 * L):.4f}")

# %% [padding-score]
# Depends on the weights.
gap = L - lengths[short]
print(f"return of its last token: {1:.4f}")
print(f"with the wrong mask: {0.95**gap:.4f}")
print(f"0.95 to the power of {gap}: {0.95**gap:.4f}")

# %% [padding-loss]
# Depends on the weights.
squares = (rollout["returns"] ** 2).sum().item() / 2
table(
    [
        {"mask": "right", "value loss": squares / tokens},
        {"mask": "wrong", "value loss": squares / (32 * L)},
        {"mask": "right, times the fraction", "value loss": squares / tokens * (tokens / (32 * L))},
    ]
)

# %% [hack-check]
# Depends on the weights.
WORDS = re.compile("suitable|suggest|pleasure|gladly|could|would", re.IGNORECASE)
by_word = lambda text: float(len(WORDS.findall(text)))
hacking = Policy()
end = list(train(hacking, 5, 1e-3, by_word, coef=0, temperature=1))[-1][0]
# No honest phrasing has more than two of these words; tiny knows 97 % of the answers.
table(
    [
        {
            "mean score": within(mean(end["scores"]), 2),
            "KL (nats)": within(end["kl"], 10),
            "right %": within(right(ask(hacking.model)), -1, 60),
        }
    ]
)

# %% [held-check]
# Depends on the weights.
holding = Policy()
kept = [made for made, _ in train(holding, 5, 1e-3, by_word, coef=0.3, temperature=1)]
table(
    [
        {
            "score gained": within(mean(kept[-1]["scores"]) - mean(kept[0]["scores"]), 0),
            "KL (nats)": within(kept[-1]["kl"], 0, 8),
            "right %": within(right(ask(holding.model)), 79, 101),
        }
    ]
)

# %% [value-check]
# Depends on the weights.
valued = list(islice(train(Policy(), 10, value_coef=10), 5))
norms = lambda steps: [mean([of["norm"] for of in updates]) for _, updates in steps[:5]]
late = lambda steps: mean(steps[3][0]["scores"] + steps[4][0]["scores"])
usual, large = norms(history), norms(valued)
table(
    [
        {
            "valueCoef": 0.1,
            "least norm": within(min(usual), 0),
            "largest norm": within(max(usual), 0, 2),
            "score of the last two": within(late(history), 0, 1),
        },
        {
            "valueCoef": 10,
            "least norm": within(min(large), 4),
            "largest norm": within(max(large), 4),
            "score of the last two": within(late(valued), 0, 1),
        },
    ]
)
print(f"score lost: {within(late(history) - late(valued), 0)}")

# %% [exercise-10-1-check]
rewards = [-0.5 * (logp - ref) for logp, ref in ((-1.0, -1.0), (-2.0, -2.0))]
rewards[-1] += 1
not_yet(
    "rewardsOf([-1, -2], [-1, -2], 1, 0.5)",
    [0, 0],
    [abs(reward) for reward in rewards],
    "without drift only the last token earns, the score",
)

# %% [exercise-10-2-check]
values, mask = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.ones(2, 2)
wanted = ((values * mask).sum() / mask.sum()).item()
not_yet("maskedMean([[1, 2], [3, 4]], [[1, 1], [1, 1]])", 0, wanted, "without padding it is the mean of all")

# %% [exercise-10-3-check]
error = min(max(6.6 / 6 - 1, -0.2), 0.2)
not_yet("nextKlCoef(0.5, 6.6, 6)", 0.5, 0.5 * (1 + 0.1 * error), "a tenth too far: it rises by 1 %")
