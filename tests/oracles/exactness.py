"""GPT-2 at full size in PyTorch: what scripts/exactness.ts compares the library with. Called by it.

    .alignbook/oracles/bin/python tests/oracles/exactness.py --shape gpt2 --out FOLDER

Writes FOLDER/model (as save_pretrained does it), FOLDER/batch.json and FOLDER/outputs.safetensors. The weights are
random, drawn as GPT-2's are before training, but twice as wide, so that the logits spread as a trained model's do.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

SHAPES = {"gpt2": (12, 12, 768), "gpt2-medium": (24, 16, 1024)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    layers, heads, width = SHAPES[options.shape]

    torch.manual_seed(124)
    config = GPT2Config(
        n_layer=layers,
        n_head=heads,
        n_embd=width,
        initializer_range=0.04,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():  # biases and norms begin as constants, which would hide a mistake
        for weight in model.parameters():
            if weight.dim() == 1:
                weight.add_(0.1 * torch.randn_like(weight))
    model.save_pretrained(options.out / "model")

    ids = lambda *shape: torch.randint(0, config.vocab_size, shape)
    inputs = {
        "no padding": (ids(2, 24), None, None),
        "padded right": (ids(2, 24), torch.tensor([[1] * 24, [1] * 9 + [0] * 15]), None),
        "padded left": (
            ids(2, 24),
            torch.tensor([[1] * 24, [0] * 15 + [1] * 9]),
            torch.tensor([list(range(24)), [0] * 15 + list(range(9))]),
        ),
        "one token": (ids(2, 1), None, None),
        "whole window": (ids(1, config.n_positions), None, None),
    }
    outputs, batch = {}, {"inputs": {}, "rows": [], "weights": []}
    for name, (input_ids, mask, positions) in inputs.items():
        with torch.no_grad():
            result = model(input_ids, attention_mask=mask, position_ids=positions, output_hidden_states=True)
        outputs[f"logits {name}"], outputs[f"hidden {name}"] = (
            result.logits.contiguous(),
            result.hidden_states[-1].contiguous(),
        )
        optional = {"attentionMask": mask, "positionIds": positions}
        batch["inputs"][name] = {"inputIds": input_ids.tolist()} | {
            key: value.tolist() for key, value in optional.items() if value is not None
        }

    loss = 0
    for prompt, responses in [(48, (14, 16)), (20, (30, 5))]:
        row = {"promptIds": ids(prompt).tolist(), "responses": [ids(length).tolist() for length in responses]}
        batch["rows"].append(row)
        for response in row["responses"]:
            sequence = torch.tensor([row["promptIds"] + response])
            logps = torch.log_softmax(model(sequence).logits[0, :-1], -1).gather(1, sequence[0, 1:, None])[
                prompt - 1 :, 0
            ]
            weight = torch.randn(len(response))
            loss = loss + (weight * logps).sum()
            outputs[f"logps {len(batch['weights'])}"] = logps.detach()
            batch["weights"].append(weight.tolist())
    loss.backward()
    outputs |= {
        f"gradient {name.removeprefix('transformer.')}": weight.grad for name, weight in model.named_parameters()
    }
    save_file(outputs, options.out / "outputs.safetensors")
    (options.out / "batch.json").write_text(json.dumps(batch))


if __name__ == "__main__":
    main()
