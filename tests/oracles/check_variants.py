"""Opens what the library exported of GPT-2s of several kinds, language models and reward models, with transformers.
Fails where it differs.

    python tests/oracles/check_variants.py FOLDER

FOLDER has a folder for each kind: `source`, its language model; `exported`, the export of it; `scorer`, the export of a
reward model that began as it; and scores.json, a list of {"ids", "score"}, each text alone, with the library's score.
Weights of `exported` must be those of `source`, and so the logits; scores must agree within 3e-5, as in
check_reward_export.py. Prints the greatest differences as JSON.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
)


def main():
    torch.set_num_threads(1)
    found = {}
    for kind in sorted(Path(sys.argv[1]).iterdir()):
        wanted, model = [
            AutoModelForCausalLM.from_pretrained(kind / name, attn_implementation="eager").eval()
            for name in ("source", "exported")
        ]
        assert type(model) is GPT2LMHeadModel
        for (name, weight), (other, written) in zip(
            wanted.state_dict().items(), model.state_dict().items(), strict=True
        ):
            assert name == other and torch.equal(weight, written), (kind.name, name)
        scorer = AutoModelForSequenceClassification.from_pretrained(kind / "scorer", attn_implementation="eager").eval()
        assert type(scorer) is GPT2ForSequenceClassification and scorer.config.num_labels == 1
        rows = json.loads((kind / "scores.json").read_text())
        with torch.no_grad():
            for row in rows:
                ids = torch.tensor([row["ids"]])
                assert torch.equal(wanted(ids).logits, model(ids).logits), kind.name
            scores = torch.stack([scorer(torch.tensor([row["ids"]])).logits[0, 0] for row in rows])
        difference = (scores - torch.tensor([row["score"] for row in rows])).abs().max().item()
        assert difference <= 3e-5, (kind.name, difference)
        found[kind.name] = difference
    assert found
    print(json.dumps(found))


if __name__ == "__main__":
    main()
