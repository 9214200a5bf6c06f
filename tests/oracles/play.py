"""Makes tests/fixtures/play.json: what notebooks 1 to 4 should say of another prompt, other answers and another β, by
transformers in float64.

The log-probs are those that a reader of the notebooks sees: of each token after the prompt, the template among them,
under the logits before it and under its own.
"""

import json
import math
import os
from pathlib import Path

import torch
from transformers import AutoTokenizer, GPT2LMHeadModel

ROOT = Path(__file__).resolve().parent.parent.parent
TINY = ROOT / "data" / "models" / "tiny"
OUT = Path(os.environ.get("ORACLES_OUT", ROOT / "tests"))

HEAD = (
    "Below is an instruction that describes a task.\n"
    "Write a response that appropriately completes the request.\n\n### Instruction:\n"
)
INSTRUCTION = "Please tell me, if you can, a synonym of 'evidence' that is short."
CHOSEN = "I would suggest 'proof', or 'grounds', with pleasure."
REJECTED = "'Proof'."
BETA = 0.5
TEMPLATE = "### Response:\n"


@torch.no_grad()
def main():
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    model = GPT2LMHeadModel.from_pretrained(TINY, dtype=torch.float64).eval()
    prompt = tokenizer.encode(HEAD + INSTRUCTION)
    whole = tokenizer.encode(f"{HEAD}{INSTRUCTION}\n\n{TEMPLATE}{CHOSEN}")
    assert whole[: len(prompt)] == prompt
    scored = torch.tensor(whole[len(prompt) :])[:, None]
    logps = torch.log_softmax(model(torch.tensor([whole])).logits[0], -1)
    before = logps[len(prompt) - 1 : -1].gather(1, scored)[:, 0]
    itself = logps[len(prompt) :].gather(1, scored)[:, 0]

    def answer(text):
        """Summed log-prob of an answer and its end, after the prompt with its template."""
        start = tokenizer.encode(f"{HEAD}{INSTRUCTION}\n\n{TEMPLATE}")
        ids = tokenizer.encode(text) + [tokenizer.eos_token_id]
        logits = model(torch.tensor([start + ids])).logits[0, len(start) - 1 : -1]
        return torch.log_softmax(logits, -1).gather(1, torch.tensor(ids)[:, None]).sum().item()

    made = {
        "head": HEAD,
        "instruction": INSTRUCTION,
        "chosen": CHOSEN,
        "rejected": REJECTED,
        "beta": BETA,
        "rejectedTokens": [tokenizer.decode(token) for token in tokenizer.encode(REJECTED)],
        "scoredTokens": [tokenizer.decode(token) for token in scored[:, 0]],
        "before": before.tolist(),
        "itself": itself.tolist(),
        "chosenLogp": answer(CHOSEN),
        "rejectedLogp": answer(REJECTED),
        "lossAt6": math.log(1 + math.exp(-BETA * 6)),
    }
    (OUT / "fixtures" / "play.json").write_text(json.dumps(made, ensure_ascii=False) + "\n")


main()
