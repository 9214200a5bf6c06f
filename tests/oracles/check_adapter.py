"""Opens adapters that alignbook wrote with PEFT, and holds their logits to those that alignbook computed.

    python tests/oracles/check_adapter.py BASE RESULTS

RESULTS: {"ids": [...], "logits": {adapter's folder: [...]}}. Logits are up to 16 in size, and PEFT computes them in
float64: within 2e-5, since float32 in PyTorch itself is up to 1.8e-5 off there. Every tensor of the file must find its
module: PEFT only warns of the others. Saved again by PEFT, the tensors must be the same to the bit.
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
        base = GPT2LMHeadModel.from_pretrained(base_folder).float()  # tiny is stored in 16 bits
        plain = base(ids).logits
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # such as missing or unexpected tensors
            model = PeftModel.from_pretrained(base, folder).eval()
        with tempfile.TemporaryDirectory() as again:
            model.save_pretrained(again)
            ours, theirs = (load_file(Path(place) / "adapter_model.safetensors") for place in (folder, again))
            assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
            assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        with torch.no_grad():
            logits = model.double()(ids).logits
        wanted = torch.tensor(wanted).view_as(logits)
        assert (wanted - plain).abs().max() > 0.1, "the adapter changes nothing"
        difference = (logits - wanted).abs().max().item()
        assert difference <= 2e-5, difference


if __name__ == "__main__":
    main()
