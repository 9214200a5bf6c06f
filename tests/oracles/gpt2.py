"""Makes tests/fixtures/gpt2: a small GPT-2 of odd sizes with its checkpoints, and what transformers computes with it.

    python tests/oracles/gpt2.py

Weights are drawn wide (0.3), so that every part of the forward pass shows in the logits.
"""

import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

OUT = Path(os.environ.get("ORACLES_OUT", Path(__file__).resolve().parent.parent))
FOLDER = OUT / "fixtures" / "gpt2"
CONFIG = GPT2Config(
    vocab_size=31,
    n_positions=9,
    n_embd=15,
    n_layer=3,
    n_head=5,
    layer_norm_epsilon=1e-4,
    bos_token_id=30,
    eos_token_id=30,
    resid_pdrop=0.0,
    embd_pdrop=0.0,
    attn_pdrop=0.0,
)


def inputs():
    """Name -> input ids, attention mask, position ids (None: transformers' default)."""
    generator = torch.Generator().manual_seed(2)
    ids = lambda *shape: torch.randint(0, 31, shape, generator=generator)
    return {
        "no padding": (ids(2, 5), None, None),
        "one token": (ids(2, 1), None, None),
        "as long as the model allows": (ids(1, 9), None, None),
        "padded on the right": (ids(2, 6), torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]]), None),
        "padded on the left": (
            ids(2, 6),
            torch.tensor([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]]),
            torch.tensor([[0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 2, 3]]),
        ),
    }


def main():
    torch.set_num_threads(1)
    torch.manual_seed(1)
    model = GPT2LMHeadModel(CONFIG).eval()
    for name, weight in model.named_parameters():
        torch.nn.init.normal_(weight, mean=1.0 if "ln_" in name and name.endswith("weight") else 0.0, std=0.3)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "config.json").write_text(CONFIG.to_json_string())

    prefixed = {name: weight for name, weight in model.state_dict().items() if name != "lm_head.weight"}
    bare = {name.removeprefix("transformer."): weight for name, weight in prefixed.items()}
    metadata = {"format": "pt"}
    save_file(prefixed, FOLDER / "model.safetensors", metadata)
    save_file(bare, FOLDER / "bare-keys.safetensors", metadata)
    save_file(
        {name: weight.to(torch.float16) for name, weight in bare.items()}, FOLDER / "float16.safetensors", metadata
    )
    save_file(
        {name: weight.to(torch.bfloat16) for name, weight in bare.items()}, FOLDER / "bfloat16.safetensors", metadata
    )

    cases = []
    for dtype, checkpoint in ((None, "model"), (torch.float16, "float16"), (torch.bfloat16, "bfloat16")):
        rounded = GPT2LMHeadModel(CONFIG).eval()
        rounded.load_state_dict(
            {name: weight.to(dtype).float() if dtype else weight for name, weight in model.state_dict().items()}
        )
        for name, (ids, mask, positions) in inputs().items():
            with torch.no_grad():
                logits = rounded(ids, attention_mask=mask, position_ids=positions).logits
            if mask is not None:
                logits = logits * mask[..., None]  # what padding computes means nothing
            case = {"name": name, "checkpoint": checkpoint, "inputIds": ids.tolist()}
            case |= {} if mask is None else {"attentionMask": mask.tolist()}
            case |= {} if positions is None else {"positionIds": positions.tolist()}
            cases.append(case | {"logits": [[[round(x, 6) for x in row] for row in rows] for rows in logits.tolist()]})
            if dtype:
                break
    (FOLDER / "logits.json").write_text(json.dumps(cases) + "\n")


if __name__ == "__main__":
    main()
