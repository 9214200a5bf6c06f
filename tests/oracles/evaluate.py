"""Makes tests/fixtures/evaluate.json: what `npx alignbook evaluate` should say of `tiny` against a reference, by
transformers and TRL in float64.

The reference is `tiny` with one weight halved, so that a test can make it to the bit. The rows are those of logps.json;
their chosen responses serve as the model's answers, whose KL is asked, two of each of two prompts at a temperature of
0.7.
"""

import json
import os
from pathlib import Path

import torch
from logps import ROWS, TINY
from transformers import AutoTokenizer, GPT2LMHeadModel
from trl_losses import trl_dpo

ROOT = Path(__file__).resolve().parent.parent.parent
OUT = Path(os.environ.get("ORACLES_OUT", ROOT / "tests")) / "fixtures"
HALVED = "transformer.h.1.mlp.c_proj.weight"
LOSSES = [("sigmoid", 0.1), ("sigmoid", 0.5), ("ipo", 0.2), ("hinge", 0.1)]
TEMPERATURE = 0.7


def logps(model, prompt_ids, ids, temperature=1.0):
    with torch.no_grad():
        logits = model(torch.tensor([prompt_ids + ids])).logits[0] / temperature
    return torch.log_softmax(logits[len(prompt_ids) - 1 : -1], -1).gather(1, torch.tensor(ids)[:, None])[:, 0]


def main():
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    policy, reference = (GPT2LMHeadModel.from_pretrained(TINY, dtype=torch.float64).eval() for _ in range(2))
    with torch.no_grad():
        dict(reference.named_parameters())[HALVED].mul_(0.5)

    def encoded(text):
        ids = tokenizer.encode(text)
        return ids if ids and ids[-1] == tokenizer.eos_token_id else [*ids, tokenizer.eos_token_id]

    rows = [(tokenizer.encode(row["prompt"]), encoded(row["chosen"]), encoded(row["rejected"])) for row in ROWS]
    inputs = {}
    for side, place in (("Chosen", 1), ("Rejected", 2)):
        for name, model in (("policy", policy), ("ref", reference)):
            inputs[f"{name}{side}Logps"] = torch.stack([logps(model, row[0], row[place]).sum() for row in rows])
        inputs[f"{side.lower()}Lengths"] = torch.tensor([len(row[place]) for row in rows])
    chosen, rejected = (inputs[f"policy{side}Logps"] - inputs[f"ref{side}Logps"] for side in ("Chosen", "Rejected"))
    own = (inputs["policyChosenLogps"], inputs["policyRejectedLogps"])

    def summary(one, other):
        return {
            "chosen": one.mean().item(),
            "rejected": other.mean().item(),
            "margins": (one - other).mean().item(),
            "accuracies": (one > other).double().mean().item(),
        }

    losses = [
        {
            "loss": name,
            "beta": beta,
            "value": trl_dpo(inputs, [name], beta=beta).item(),
            "rewards": summary(beta * chosen, beta * rejected),
        }
        for name, beta in LOSSES
    ]

    answers = [(n, rows[n][0], rows[n][place]) for n in (0, 1) for place in (1, 2)]
    ratios = [
        logps(policy, prompt, ids, TEMPERATURE) - logps(reference, prompt, ids, TEMPERATURE)
        for _, prompt, ids in answers
    ]
    each = torch.stack([ratio.sum() for ratio in ratios])
    means = each.reshape(2, 2).mean(1)
    kl = {
        "temperature": TEMPERATURE,
        "ofSamples": each.tolist(),
        "mean": means.mean().item(),
        "standardError": (means.std() / 2**0.5).item(),
        "perToken": torch.cat(ratios).mean().item(),
    }
    samples = [{"prompt": n, "promptIds": prompt, "ids": ids} for n, prompt, ids in answers]
    made = {"halved": HALVED, "logps": summary(*own), "losses": losses, "samples": samples, "kl": kl}
    (OUT / "evaluate.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
