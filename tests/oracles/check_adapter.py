"""Opens adapters that alignbook wrote with PEFT, and holds their logits to those that alignbook computed.

    python tests/oracles/check_adapter.py BASE RESULTS

RESULTS: {"ids": [...], "logits": {adapter's folder: [...]}}. Logits are up to 10 in size, float32 on both sides: within
1e-5 of their size. Every tensor of the file must find its module: PEFT only warns of the others. Saved again by PEFT,
the tensors must be the same to the bit.
"""

import json
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import GPT2LMHeadModel


def main():
    base_folder, results = sys.argv[1:]
    found = json.loads(Path(results).read_text())
    torch.set_num_threads(1)
    ids = torch.tensor([found["ids"]])
    for folder, wanted in found["logits"].items():
        base = GPT2LMHeadModel.from_pretrained(base_folder)
        plain = base(ids).logits
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # such as missing or unexpected tensors
            model = PeftModel.from_pretrained(base, folder).eval()
        with torch.no_grad():
            logits = model(ids).logits
        wanted = torch.tensor(wanted).view_as(logits)
        assert (wanted - plain).abs().max() > 0.1, "the adapter changes nothing"
        difference = ((logits - wanted).abs() / wanted.abs().clamp(min=1)).max().item()
        print(folder, difference)
        assert difference <= 1e-5, difference
        with tempfile.TemporaryDirectory() as again:
            model.save_pretrained(again)
            ours, theirs = (load_file(Path(place) / "adapter_model.safetensors") for place in (folder, again))
            assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
            assert all(torch.equal(ours[name], theirs[name]) for name in ours)


if __name__ == "__main__":
    main()
