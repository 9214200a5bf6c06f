"""Opens an exported reward model with transformers, and scores with it. Fails where the scores are others.

    python tests/oracles/check_reward_export.py EXPORTED ROWS RESAVED

ROWS is a JSON file of {"ids", "score"}, each text alone, with the library's score. Scores must agree within 3e-5:
float32 on both sides, scores of size 5, greatest difference seen 7e-6. Padded texts of one batch, too, once there is a
padding token that they do not hold. RESAVED receives the model as save_pretrained writes it, whose model.safetensors
must not have changed by a byte.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, GPT2ForSequenceClassification


def main():
    exported, rows, resaved = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    rows = json.loads(rows.read_text())
    model = AutoModelForSequenceClassification.from_pretrained(exported)
    assert type(model) is GPT2ForSequenceClassification and model.config.num_labels == 1
    model.save_pretrained(resaved)
    assert (resaved / "model.safetensors").read_bytes() == (exported / "model.safetensors").read_bytes()
    assert AutoTokenizer.from_pretrained(exported).encode("Hello world") == [15496, 995]

    model = model.float().eval()
    wanted = torch.tensor([row["score"] for row in rows])
    with torch.no_grad():
        alone = torch.stack([model(torch.tensor([row["ids"]])).logits[0, 0] for row in rows])
        pad = next(id for id in range(model.config.vocab_size) if all(id not in row["ids"] for row in rows))
        model.config.pad_token_id = pad
        longest = max(len(row["ids"]) for row in rows)
        together = model(torch.tensor([row["ids"] + [pad] * (longest - len(row["ids"])) for row in rows])).logits[:, 0]
    for scores in (alone, together):
        difference = (scores - wanted).abs().max().item()
        assert difference <= 3e-5, difference
    print(json.dumps({"difference": difference}))


if __name__ == "__main__":
    main()
