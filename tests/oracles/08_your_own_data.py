"""The Python twin of notebooks/08-your-own-data.ipynb: what it reads, by Python's tokenizer. What the library says of a
bad row, and the inequalities that its training must satisfy on any processor, are written here as they must be printed.
"""

# %% [setup]
import json
from pathlib import Path

from transformers import GPT2Config, GPT2Tokenizer

tokenizer = GPT2Tokenizer.from_pretrained(MODEL)
DATA = Path(MODEL).parent.parent / "preferences" / "validation.jsonl"
EOS = 50256
alpaca = lambda instruction: (
    f"Below is an instruction that describes a task.\nWrite a response that appropriately completes the request.\n\n"
    f"### Instruction:\n{instruction}\n\n### Response:\n"
)

# %% [forms-read]
print(
    "left out: ../runs/forms.jsonl: line 4: chosen and rejected are the same, so the pair prefers nothing; leave it out"
)
for prompt in ("Say hello.\n", alpaca("Say hello."), alpaca("Say hello.")):
    print(json.dumps(prompt[-40:]))

# %% [read]
rows = [json.loads(line) for line in DATA.read_text().splitlines()]
ids = lambda text: tokenizer(text)["input_ids"]
pairs = [(ids(alpaca(row["instruction"])), ids(row["chosen"]) + [EOS], ids(row["rejected"]) + [EOS]) for row in rows]
longest = max(len(prompt) + max(len(chosen), len(rejected)) for prompt, chosen, rejected in pairs)
print(
    f"{len(pairs)} pairs, the longest of {longest} tokens; the window has "
    f"{GPT2Config.from_pretrained(MODEL).n_positions}"
)
print(
    f"the chosen answer is the longer one in {sum(len(chosen) > len(rejected) for _, chosen, rejected in pairs)} "
    f"of them"
)

# %% [look]
for part in pairs[0]:
    print(tokenizer.decode(part)[-60:])

# %% [split]
print(f"{len(pairs) - len(pairs) // 5} to train on, {len(pairs) // 5} held back")

# %% [dpo-check]
print("the best step's loss is the lowest: true")
print("and more than 0.05 below ln 2: true")
print("reward accuracy at least 0.9: true")

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
print("the same log-probs: true")
