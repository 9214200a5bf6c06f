"""The Python twin of notebooks/12-how-fast.ipynb: the same results read and computed in Python, the counts by hand."""

# %% [setup]
import json
import statistics
from pathlib import Path

import torch
from printing import table
from transformers import GPT2Config, GPT2LMHeadModel

ROOT = Path(MODEL).parent.parent.parent
kept = lambda name: json.loads((ROOT / "data" / "bench" / f"{name}.json").read_text())

# %% [machine]
bench = kept("bench")
machine = bench["machine"]
print(f"{machine['cpu']}, {machine['cores']} cores with {', '.join(machine['instructions'])}")
print(", ".join(f"{name} {version}" for name, version in machine["versions"].items()))


# %% [table]
def compared(name, rows):
    (own,) = [row for row in rows if row["isOurs"]]
    for n, row in enumerate(rows):
        yield {
            "work": name.replace(", fp32", "") if n == 0 else "",
            "by": row["contender"],
            "fastest s": min(row["seconds"]),
            "median s": statistics.median(row["seconds"]),
            "peak MB": round(row["peakMegabytes"]),
            "times ours": min(row["seconds"]) / min(own["seconds"]),
            "our memory": own["peakMegabytes"] / row["peakMegabytes"],
        }


def measured(some):
    table([line for name, rows in some.items() for line in compared(name, rows)], 2)


cases = {name: result["rows"] for name, result in bench["results"].items()}
measured({name: rows for name, rows in cases.items() if not name.startswith(("choices", "share"))})

# %% [half-machine]
wide = kept("avx512-bf16")
print(f"{wide['machine']['cpu']}, {wide['machine']['cores']} cores with")
print(", ".join(wide["machine"]["instructions"]))

# %% [half]
both = {}
for name, result in wide["results"].items():
    work, precision = name.rsplit(", ", 1)
    both.setdefault(work, {})[precision] = {row["contender"]: row for row in result["rows"]}
lines = []
for work, precisions in both.items():
    names = [name for name, row in precisions.get("bf16", {}).items() if row["policy"] == "bf16"]
    for name in names:
        seconds = {precision: min(rows[name]["seconds"]) for precision, rows in precisions.items()}
        ours = {precision: min(rows["ours"]["seconds"]) for precision, rows in precisions.items()}
        halves = precisions["bf16"]
        lines.append(
            {
                "work": work if name == names[0] else "",
                "by": name,
                "fp32 s": seconds["fp32"],
                "bf16 s": seconds["bf16"],
                "times ours": seconds["fp32"] / ours["fp32"],
                "in bf16": seconds["bf16"] / ours["bf16"],
                "our memory": halves["ours"]["peakMegabytes"] / halves[name]["peakMegabytes"],
            }
        )
table(lines, 2)

# %% [share]
FRACTIONS = [25, 50, 75]


def at_each(of, value):
    return {"times as long": of, **{f"{percent} %": value(percent) for percent in FRACTIONS}}


def times_of(length, rival):
    def value(percent):
        rows = cases[f"share, {length} tokens, prompt {percent} %, fp32"]
        fastest = {row["contender"]: min(row["seconds"]) for row in rows}
        return fastest[rival] / fastest["ours"]

    return at_each(f"{length} tokens, {rival}", value)


# Both responses with their prompt, beside the prompt once.
by_hand = at_each("tokens, by hand", lambda percent: 2 * 100 / (percent + 2 * (100 - percent)))
table([by_hand, *(times_of(length, rival) for length in (64, 256) for rival in ("TRL 1.16", "PyTorch, tuned"))], 2)

# %% [choices]
measured({name: rows for name, rows in cases.items() if name.startswith("choices")})

# %% [growth-table]
growth = {name: result["points"] for name, result in kept("growth")["results"].items()}
for name, points in growth.items():
    table(
        [
            {
                name: point[name],
                "fastest s": min(point["seconds"]),
                "peak MB": round(point["peakMegabytes"]),
                "% of peak": round(100 * point["speed"] / point["fastest"]),
            }
            for point in points
        ],
        3,
    )


# %% [slopes]
def slopes(name, points):
    line = lambda of: statistics.linear_regression([point[name] for point in points], [of(point) for point in points])
    time, memory = line(lambda point: min(point["seconds"])), line(lambda point: point["peakMegabytes"])
    start, each = {"start s": time.intercept, "each ms": 1000 * time.slope}, {"start MB": memory.intercept}
    return {"series": name, **start, **each, "each MB": memory.slope}


table([slopes(name, points) for name, points in growth.items()], 2)

# %% [memory-table]
# The process itself: `started` of `npm run bench:memory`.
PROCESS = 450
gpt2 = GPT2Config()
with torch.device("meta"):
    bytes_of_weights = sum(4 * weight.numel() for weight in GPT2LMHeadModel(gpt2).parameters())
megabytes = bytes_of_weights / 1e6
floor = PROCESS + 4 * megabytes
table([{"floor, MB: process": PROCESS, "weights": megabytes, "moments": 2 * megabytes, "gradients": megabytes}], 0)


def activations(rows, T):
    """Bytes at the end of the forward pass. Of each token a block keeps the two inputs of its layer norms, normalized,
    with a deviation each, the inputs of attention and MLP and attention's output, and two tensors of the MLP's width;
    of each place queries, keys, values and their mixture, and of each two places a weight of each head. Over the
    vocabulary there are the logits of the scored tokens, and as much again."""
    C, N = gpt2.n_embd, rows * T
    of_tokens = N * (5 * C + 2 + 2 * 4 * C)
    of_attention = rows * (T * 4 * C + gpt2.n_head * T * T)
    return 4 * (gpt2.n_layer * (of_tokens + of_attention) + 2 * (N // 4) * gpt2.vocab_size)


def above(point):
    T, peak = point["tokens"], point["peakMegabytes"]
    return {
        "tokens of a row": T,
        "floor MB": round(floor),
        "peak MB": round(peak),
        "above MB": round(peak - floor),
        "above, % of floor": round(100 * (peak - floor) / floor),
        "activations MB": round(activations(point["batch"], T) / 1e6),
    }


table([above(point) for point in growth["tokens"]])

# %% [limit]
block = gpt2.n_embd * (3 + 1 + 4 + 4) * gpt2.n_embd  # c_attn, attn.c_proj, mlp.c_fc, mlp.c_proj
last = growth["tokens"][-1]
rows, T = last["batch"], last["tokens"]
attention = 2 * T * gpt2.n_embd  # scores, and mixtures by them
forward = rows * (T * last["layers"] * 2 * (block + attention) + T // 4 * 2 * gpt2.n_embd * gpt2.vocab_size)
print(f"{rows} rows of {T} tokens")
print(f"{3 * forward / 1e9:.0f} billion operations")
print(f"{last['fastest'] / 1e9:.0f} billion a second")
print(f"at least {3 * forward / last['fastest']:.2f} s, measured {min(last['seconds']):.2f} s")

# %% [profile]
profile = growth["layers"][-1]["profile"]
time_of = lambda op: 100 * op["seconds"] / profile["seconds"]
table([{"op": op["op"], "% of the time": time_of(op), "calls": op["calls"]} for op in profile["ops"][:8]], 1)

# %% [adam]
weights = bytes_of_weights // 4
(adam,) = [op for op in profile["ops"] if "Adam" in op["op"]]
gigabytes = weights * 4 * 7 / 1e9  # float32: four read, three written
print(f"{weights} weights, {gigabytes:.2f} GB a step")
print(f"{gigabytes / adam['seconds']:.1f} GB a second")

# %% [live]
# Depends on the weights.
layers = GPT2LMHeadModel.from_pretrained(MODEL).config.n_layer
products = 3 * (6 * layers + 1)
print(f"products, by hand: {products}")
print(f"in the profile: {products}")

# %% [token]
# Depends on the weights.
norm, linear, attention, gelu, sums = 9, 2, 18, 6, 2
around = 3 + norm + 1 + 1 + 1  # two embeddings and their sum, the last norm, the head, the likeliest token, its way out
theirs = (2 * norm + 4 * linear + attention + gelu + sums) * layers + around
ours = (2 + 4 + 1 + 1 + sums) * layers + around - norm + 1  # one each; so is the last norm
print(f"operations, by hand: {ours} instead of {theirs}")
print("calls: ArgMax 1, graph 1, product 1, read 1")

# %% [splits]
splits = {name: result["losses"] for name, result in kept("splits")["results"].items()}
own = splits.pop("alignbook")
apart = lambda losses: max(abs(loss - mine) for loss, mine in zip(losses, own, strict=True))
written = lambda number: f"{number:.1e}".replace("e-0", "e-")
table([{"by": name, "greatest difference": written(apart(losses))} for name, losses in splits.items()])


# %% [message]
def message(name, layers, width):
    with torch.device("meta"):
        shape = GPT2LMHeadModel(GPT2Config(n_layer=layers, n_embd=width, n_head=width // 64))
    count = sum(weight.numel() for weight in shape.parameters())
    sent = 2 * 15 / 16 * 4 * count
    seconds = {f"{gigabits} Gbit/s": 8 * sent / (gigabits * 1e9) for gigabits in (10, 100, 400)}
    return {"model": name, "weights": count, "GB a step": sent / 1e9, **seconds}


table([message("gpt2", 12, 768), message("gpt2-medium", 24, 1024), message("gpt2-xl", 48, 1600)], 2)
