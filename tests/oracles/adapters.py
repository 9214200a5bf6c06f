"""Makes tests/fixtures/adapters: LoRA adapters of tests/fixtures/gpt2 as PEFT saves them, and PEFT's logits.

    python tests/oracles/adapters.py

A and B are drawn wide (0.3), so that every adapter changes the logits by more than 0.1. Each adapter is read back with
PeftModel.from_pretrained, and its logits are those of that model, unmerged. `fields` lists every field of LoraConfig
that turns on something that changes the computation, so that a new version of PEFT that adds one is noticed.
"""

import dataclasses
import json
import os
import shutil
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import GPT2LMHeadModel

warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")
OUT = Path(os.environ.get("ORACLES_OUT", Path(__file__).resolve().parent.parent))
BASE = OUT / "fixtures" / "gpt2"
FOLDER = OUT / "fixtures" / "adapters"
ALL = ["c_attn", "c_proj", "c_fc"]
KINDS = {
    "plain": {"r": 4, "lora_alpha": 8},
    "everywhere": {"r": 2, "lora_alpha": 3, "target_modules": ALL},
    "rs-lora": {"r": 3, "lora_alpha": 4, "target_modules": ["attn.c_proj", "mlp.c_fc"], "use_rslora": True},
    "some-blocks": {"r": 2, "lora_alpha": 2, "target_modules": ["c_attn", "c_fc"], "layers_to_transform": [0, 2]},
    "patterns": {
        "r": 2,
        "lora_alpha": 4,
        "target_modules": ALL,
        "rank_pattern": {"c_attn": 5, "h.1.mlp.c_proj": 3},
        "alpha_pattern": {"^transformer.h.0.mlp.c_fc": 7, "c_proj": 1},
    },
    "regular-expression": {"r": 2, "lora_alpha": 4, "target_modules": r".*h\.[01]\.attn\.c_(attn|proj)"},
    "all-linear": {"r": 1, "lora_alpha": 2, "target_modules": "all-linear"},
    "bfloat16": {"r": 2, "lora_alpha": 4},
}


def main():
    torch.set_num_threads(1)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    ids = torch.randint(0, 31, (2, 7), generator=torch.Generator().manual_seed(5))
    logits = {}
    for number, (kind, settings) in enumerate(KINDS.items()):
        torch.manual_seed(number)
        base = GPT2LMHeadModel.from_pretrained(BASE)
        model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **settings))
        for name, weight in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=0.3)
                if kind == "bfloat16":
                    weight.data = weight.data.to(torch.bfloat16)
        folder = FOLDER / kind
        model.save_pretrained(folder)
        (folder / "README.md").unlink()  # names the folder that this ran in
        config = json.loads((folder / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = "openai-community/gpt2"  # likewise; a test puts a folder there
        if isinstance(config["target_modules"], list):
            config["target_modules"].sort()  # a set, in another order each time
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
        base = GPT2LMHeadModel.from_pretrained(BASE)
        plain = base(ids).logits
        with torch.no_grad():
            values = PeftModel.from_pretrained(base, folder).eval()(ids).logits.float()
        assert (values - plain).abs().max() > 0.1
        logits[kind] = values.flatten().tolist()
    defaults = {
        field.name: value
        for field in dataclasses.fields(LoraConfig)
        if (value := getattr(LoraConfig(), field.name)) is None or isinstance(value, (bool, int, float, str, dict))
    }
    defaults["peft_type"] = "LORA"
    (FOLDER / "adapters.json").write_text(
        json.dumps({"ids": ids.tolist(), "logits": logits, "defaults": defaults}, indent=1, default=str) + "\n"
    )


if __name__ == "__main__":
    main()
