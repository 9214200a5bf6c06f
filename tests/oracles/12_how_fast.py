"""The Python twin of notebooks/12-how-fast.ipynb: the same results read and computed in Python, the counts by hand."""

# %% [setup]
import json
import statistics
from pathlib import Path

import torch
from transformers import GPT2Config

ROOT = Path(MODEL).parent.parent.parent
kept = lambda name: json.loads((ROOT / "data" / "bench" / f"{name}.json").read_text())
bench = kept("bench")
machine = bench["machine"]
print(f"{machine['cpu']}, {machine['cores']} cores with {', '.join(machine['instructions'])}")
print(", ".join(f"{name} {version}" for name, version in machine["versions"].items()))

# %% [table]
HEADS = ["fastest s", "median s", "peak MB", "times", "memory"]


def table(some):
    for n, (name, rows) in enumerate(some.items()):
        print(name, *(HEADS if n == 0 else []))
        (own,) = [row for row in rows if row["isOurs"]]
        for row in rows:
            print(
                row["contender"],
                f"{min(row['seconds']):.3f}",
                f"{statistics.median(row['seconds']):.3f}",
                f"{row['peakMegabytes']:.0f}",
                end=" ",
            )
            print(
                ""
                if row is own
                else f"{min(row['seconds']) / min(own['seconds']):.2f}x "
                f"{own['peakMegabytes'] / row['peakMegabytes']:.2f}x"
            )


cases = {name: result["rows"] for name, result in bench["results"].items()}
table({name: rows for name, rows in cases.items() if not name.startswith(("choices", "share"))})

# %% [share]
SHARES = [25, 50, 75]
print("prompt's share", *(f"{share} %" for share in SHARES))
print("tokens, by hand", *(f"{2 * 100 / (share + 2 * (100 - share)):.2f}x" for share in SHARES))
for length in (64, 256):
    for rival in ("TRL 1.16", "PyTorch, tuned"):
        fastest = [
            {row["contender"]: min(row["seconds"]) for row in cases[f"share, {length} tokens, prompt {share} %, fp32"]}
            for share in SHARES
        ]
        print(f"{length} tokens, {rival}", *(f"{of[rival] / of['ours']:.2f}x" for of in fastest))

# %% [choices]
table({name: rows for name, rows in cases.items() if name.startswith("choices")})

# %% [growth]
growth = {name: result["points"] for name, result in kept("growth")["results"].items()}
for name, points in growth.items():
    print(name, "fastest s", "peak MB", "of peak")
    for point in points:
        print(
            point[name],
            f"{min(point['seconds']):.3f} {point['peakMegabytes']:.0f} {100 * point['speed'] / point['fastest']:.0f} %",
        )

# %% [slopes]
for name, points in growth.items():
    line = lambda of: statistics.linear_regression([point[name] for point in points], [of(point) for point in points])
    time, memory = line(lambda point: min(point["seconds"])), line(lambda point: point["peakMegabytes"])
    print(
        f"{name}: {time.intercept:.2f} s + {1000 * time.slope:.2f} ms each; {memory.intercept:.0f} MB + "
        f"{memory.slope:.2f} MB each"
    )

# %% [limit]
gpt2 = GPT2Config()
block = gpt2.n_embd * (3 + 1 + 4 + 4) * gpt2.n_embd  # c_attn, attn.c_proj, mlp.c_fc, mlp.c_proj
last = growth["tokens"][-1]
rows, T = last["batch"], last["tokens"]
attention = 2 * T * gpt2.n_embd  # scores, and mixtures by them
forward = rows * (T * last["layers"] * 2 * (block + attention) + T // 4 * 2 * gpt2.n_embd * gpt2.vocab_size)
print(f"{rows} rows of {T} tokens: {3 * forward / 1e9:.0f} billion operations")
print(
    f"at {last['fastest'] / 1e9:.0f} billion a second at least {3 * forward / last['fastest']:.2f} s, measured "
    f"{min(last['seconds']):.2f} s"
)

# %% [profile]
profile = growth["layers"][-1]["profile"]
for op in profile["ops"][:8]:
    print(op["op"], f"{100 * op['seconds'] / profile['seconds']:.1f} % {op['calls']} calls")

# %% [adam]
from transformers import GPT2LMHeadModel

weights = sum(weight.numel() for weight in GPT2LMHeadModel(gpt2).parameters())
(adam,) = [op for op in profile["ops"] if op["op"] == "ResourceApplyAdam"]
gigabytes = weights * 4 * 7 / 1e9  # float32: four read, three written
print(f"{weights} weights, {gigabytes:.2f} GB a step, {gigabytes / adam['seconds']:.1f} GB a second")

# %% [live]
# Depends on the weights.
layers = GPT2LMHeadModel.from_pretrained(MODEL).config.n_layer
products = 3 * (4 * layers + 1)
print(f"products: {products} by hand, {products} in the profile")

# %% [token]
# Depends on the weights.
norm, linear, attention, gelu, sums = 9, 2, 18, 6, 2
around = 3 + norm + 1 + 1 + 1  # two embeddings and their sum, the last norm, the head, the likeliest token, its way out
print(
    f"a token: {(2 * norm + 4 * linear + attention + gelu + sums) * layers + around} calls, {4 * layers + 1} of "
    f"them products with weights"
)

# %% [splits]
splits = {name: result["losses"] for name, result in kept("splits")["results"].items()}
own = splits.pop("alignbook")
for name, losses in splits.items():
    apart = max(abs(loss - mine) for loss, mine in zip(losses, own, strict=True))
    print(name, f"{apart:.1e}".replace("e-0", "e-"))

# %% [message]
for name, layers, width in (("gpt2", 12, 768), ("gpt2-medium", 24, 1024), ("gpt2-xl", 48, 1600)):
    with torch.device("meta"):
        shape = GPT2LMHeadModel(GPT2Config(n_layer=layers, n_embd=width, n_head=width // 64))
    count = sum(weight.numel() for weight in shape.parameters())
    sent = 2 * 15 / 16 * 4 * count
    times = [f"{8 * sent / (gigabits * 1e9):.2f} s at {gigabits}" for gigabits in (10, 100, 400)]
    print(f"{name}: {count} weights, {sent / 1e9:.2f} GB a step: {', '.join(times)} Gbit/s")
