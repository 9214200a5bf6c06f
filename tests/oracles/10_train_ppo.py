"""The Python twin of notebooks/10-train-ppo.ipynb: the same rollouts and updates in PyTorch.

It draws from the library's seeded generator, so that the first iteration has the same answers and is held to it number
by number. Later iterations build on the last bits of float32. On the machine where this was written all ten draw the
library's answers; on another, one may differ, and then all that follow: of them only shares, with a wide tolerance, and
inequalities are printed.
"""

# %% [setup]
import json
import re
from collections import Counter
from itertools import islice
from pathlib import Path

import torch
from order import Random, batches
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
report = lambda name, answers: print(f"{name}: right {right(answers):.1f} %, courteous {courteous(answers):.1f} %")

# %% [before]
# Depends on the weights.
# Tolerance 2: points; a draw at the edge between two tokens may fall on the other side.
before = ask(sft)
report("before", before)
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
print(
    f"{len(rollout['rows'])} answers, {len(rollout['logps'])} tokens, "
    f"{sum(EOS in answer for _, answer in rollout['rows'])} ended by themselves"
)
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
line = lambda numbers: "".join(f"{float(number):10.4f}" for number in numbers)
print("                   logp   ref logp        KL    reward     value    return advantage")
for t, id in enumerate(rollout["rows"][short][1]):
    logp, ref, value, _, returned, advantage = [of[short][t] for of in per_answer.values()]
    token = json.dumps(tokenizer.decode([id]))
    print(f"{token:15}" + line([logp, ref, logp - ref, rollout["rewards"][short][t], value, returned, advantage]))

# %% [gae]
# Depends on the weights.
print("by hand " + line(0.95 ** (lengths[short] - 1 - t) for t in range(lengths[short])))
print("library " + line(per_answer["raw"][short]))

# %% [whiten]
# Depends on the weights.
advantages = per_answer["advantages"]
curt = advantages[rollout["scores"].index(0)]
print(f"mean {line([rollout['advantages'].mean()])}, deviation {line([rollout['advantages'].std()])}")
print(f"a curt answer's tokens: {line([curt.min()])} to {line([curt.max()])}")

# %% [updates]
# Depends on the weights.
# Tolerance 0.0005: a ratio's fourth digit; a token more or less of the 433 that is clipped would be 0.0023.
print("update  ratio mean  deviation   clipped  policy loss  value loss  gradient norm")
for n, of in enumerate(updates, 1):
    print(n, line(of[key] for key in ("mean", "deviation", "clipped", "policy", "value", "norm")))

# %% [value-loss]
# Depends on the weights.
print("by hand " + line([(rollout["returns"] ** 2).mean() / 2]))
print("library " + line([updates[0]["value"]]))

# %% [train-check]
# Depends on the weights.
history += training
claim = lambda text, holds: print(f"{text}: {str(bool(holds)).lower()}")
last = history[-1][0]
claim("mean score above 0.8 in the end", mean(last["scores"]) > 0.8)
claim("KL between 1 and 12 nats", 1 < last["kl"] < 12)
claim("never more than a fifth clipped", all(mean([of["clipped"] for of in step]) < 0.2 for _, step in history))

# %% [after-shares]
# Depends on the weights.
# Tolerance 10: points; training moves the courteous share by 66.
after = ask(policy.model)
report("before", before)
report("after ", after)

# %% [phrase]
# Depends on the weights.
claim("more than half begin alike", Counter(text[:6] for text in after).most_common(1)[0][1] > 50)

# %% [temperature]
# Depends on the weights.
with torch.no_grad():
    at1 = token_numbers(sft, rollout["rows"], 1)[0]
print("both log-probs at 0.7        " + line([(rollout["logps"] - rollout["refs"]).sum() / 32]))
print("the policy's at 1 by mistake " + line([(at1 - rollout["refs"]).sum() / 32]))
print("the reference's at 1         " + line([(rollout["logps"] - at1).sum() / 32]))

# %% [padding]
# Depends on the weights.
L, tokens = max(lengths), sum(lengths)
print(f"{tokens} tokens on 32 x {L} places: {100 * tokens / (32 * L):.1f} %")

# %% [padding-score]
# Depends on the weights.
gap = L - lengths[short]
print(f"return of its last token: {1:.4f}")
print(f"with the wrong mask: {0.95**gap:.4f}")
print(f"0.95 to the power of {gap}: {0.95**gap:.4f}")

# %% [padding-loss]
# Depends on the weights.
squares = (rollout["returns"] ** 2).sum() / 2
print(f"value loss {squares / tokens:.4f}")
print(f"with the wrong mask {squares / (32 * L):.4f}")
print(f"times the share of tokens: {squares / tokens * (tokens / (32 * L)):.4f}")

# %% [hack-check]
# Depends on the weights.
WORDS = re.compile("suitable|suggest|pleasure|gladly|could|would", re.IGNORECASE)
by_word = lambda text: float(len(WORDS.findall(text)))
hacking = Policy()
end = list(train(hacking, 5, 1e-3, by_word, coef=0, temperature=1))[-1][0]
claim("more of these words than any honest answer has", mean(end["scores"]) > 2)
claim("KL above 10 nats", end["kl"] > 10)
claim("fewer than 60 % right", right(ask(hacking.model)) < 60)

# %% [held-check]
# Depends on the weights.
holding = Policy()
kept = [made for made, _ in train(holding, 5, 1e-3, by_word, coef=0.3, temperature=1)]
claim("KL below 8 nats", kept[-1]["kl"] < 8)
claim("at least 80 % right", right(ask(holding.model)) >= 80)
claim("the score still rose", mean(kept[-1]["scores"]) > mean(kept[0]["scores"]))

# %% [value-check]
# Depends on the weights.
valued = list(islice(train(Policy(), 10, value_coef=10), 5))
norms = lambda steps: [mean([of["norm"] for of in updates]) for _, updates in steps[:5]]
claim("gradient norm with 0.1, below 2", max(norms(history)) < 2)
claim("with 10, above 4", min(norms(valued)) > 4)
late = lambda steps: mean(steps[3][0]["scores"] + steps[4][0]["scores"])
claim("its score is the lower one, in the last two", late(valued) < late(history))
