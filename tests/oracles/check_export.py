"""Opens an exported folder with transformers and holds it to the model that it was made from. Fails where they differ.

    python tests/oracles/check_export.py SOURCE EXPORTED

Weights must be the source's, rounded by PyTorch where the export is in 16 bits; so must the logits of that model,
within 1e-5 (transformers on both sides, the same weights: no difference is expected). Saved again, model.safetensors
must not change by a byte. Prints what it found as JSON.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from tokenizer import STRINGS
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2LMHeadModel, GPT2TokenizerFast


def main():
    source, exported = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    wanted = GPT2LMHeadModel.from_pretrained(source).eval()
    model = GPT2LMHeadModel.from_pretrained(exported).eval()
    assert type(AutoModelForCausalLM.from_pretrained(exported)) is GPT2LMHeadModel
    wanted = wanted.to(model.dtype)
    for (name, weight), (other, written) in zip(wanted.state_dict().items(), model.state_dict().items(), strict=True):
        assert name == other and written.dtype == weight.dtype and torch.equal(weight, written), name

    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, wanted.config.vocab_size, (2, min(64, wanted.config.n_positions)), generator=generator)
    with torch.no_grad():
        difference = (wanted.float()(ids).logits - model.float()(ids).logits).abs().max().item()
    assert difference <= 1e-5, difference
    assert model.generation_config.eos_token_id == wanted.config.eos_token_id

    resaved = GPT2LMHeadModel.from_pretrained(exported)
    original = AutoTokenizer.from_pretrained(source)
    with tempfile.TemporaryDirectory() as temporary:
        resaved.save_pretrained(Path(temporary) / "model")
        assert (Path(temporary) / "model" / "model.safetensors").read_bytes() == (
            exported / "model.safetensors"
        ).read_bytes()
        bare = Path(temporary) / "bare"  # vocab.json and merges.txt alone make the same tokenizer
        bare.mkdir()
        for name in ("vocab.json", "merges.txt"):
            shutil.copy(exported / name, bare)
        for tokenizer in (
            AutoTokenizer.from_pretrained(exported),
            GPT2TokenizerFast.from_pretrained(exported),
            GPT2TokenizerFast.from_pretrained(bare),
        ):
            for text in STRINGS:
                assert tokenizer.encode(text) == original.encode(text), text
            assert tokenizer.eos_token_id == original.eos_token_id
    print(json.dumps({"dtype": str(resaved.dtype), "logits": difference, "texts": len(STRINGS)}))


if __name__ == "__main__":
    main()
