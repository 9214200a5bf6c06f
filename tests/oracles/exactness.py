"""GPT-2 in PyTorch, for scripts/differences.ts to compare the library with; scripts/exactness.ts and
scripts/gpu/values.py call it.

    .alignbook/oracles/bin/python tests/oracles/exactness.py --shape gpt2 --out FOLDER

Writes FOLDER/model (as save_pretrained does), FOLDER/batch.json and FOLDER/outputs.safetensors. The weights are random,
drawn as GPT-2's are before training but twice as wide, so that the logits spread as a trained model's do; `tiny` is the
embedded model. With --adapter also FOLDER/adapter, a LoRA adapter as PEFT saves it, and PEFT's logits in
FOLDER/adapter.safetensors; the batch is then the one named "padded left".
"""

import argparse
import json
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

TINY = Path(__file__).resolve().parents[2] / "data" / "models" / "tiny"
SHAPES = {
    "gpt2": {"n_layer": 12, "n_head": 12, "n_embd": 768},
    "gpt2-medium": {"n_layer": 24, "n_head": 16, "n_embd": 1024},
    "small": {
        "n_layer": 2,
        "n_head": 2,
        "n_embd": 32,
        "vocab_size": 1001,
        "n_positions": 128,
        "bos_token_id": 1000,
        "eos_token_id": 1000,
    },
    "tiny": None,
}

ADAPTER_INPUT = "padded left"


def made(shape):
    if SHAPES[shape] is None:
        return GPT2LMHeadModel.from_pretrained(TINY).float().eval()
    torch.manual_seed(124)
    model = GPT2LMHeadModel(
        GPT2Config(initializer_range=0.04, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **SHAPES[shape])
    ).eval()
    with torch.no_grad():  # biases and norms begin as constants, which would hide a mistake
        for weight in model.parameters():
            if weight.dim() == 1:
                weight.add_(0.1 * torch.randn_like(weight))
    return model


def greedy(model, prompts, tokens, device):
    """The ids that follow each prompt, and how far each one's logit lies above the next."""
    model.generation_config.eos_token_id = None
    ids, margins = [], []
    for prompt in prompts:
        given = torch.tensor([prompt], device=device)
        with torch.no_grad():
            whole = model.generate(
                given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=tokens, pad_token_id=0
            )
            top = model(whole).logits[0, len(prompt) - 1 : -1].topk(2).values
        ids.append(whole[0, len(prompt) :].tolist())
        margins.append((top[:, 0] - top[:, 1]).tolist())
    return {"prompts": prompts, "ids": ids, "margins": margins}


def write(shape, out, device="cpu"):
    """All of a shape's files."""
    out.mkdir(parents=True, exist_ok=True)
    model = made(shape)
    model.save_pretrained(out / "model")
    model.to(device)
    config = model.config
    torch.manual_seed(125)
    ids = lambda *size: torch.randint(0, config.vocab_size, size)
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
    there = lambda tensor: None if tensor is None else tensor.to(device)
    for name, (input_ids, mask, positions) in inputs.items():
        with torch.no_grad():
            result = model(
                there(input_ids), attention_mask=there(mask), position_ids=there(positions), output_hidden_states=True
            )
        outputs[f"logits {name}"], outputs[f"hidden {name}"] = result.logits, result.hidden_states[-1]
        optional = {"attentionMask": mask, "positionIds": positions}
        batch["inputs"][name] = {"inputIds": input_ids.tolist()} | {
            key: value.tolist() for key, value in optional.items() if value is not None
        }

    loss = 0
    # The first prompt repeats three ids many times, so their gradients add up in one row of the embedding.
    for prompt, responses in [(ids(3)[torch.arange(48) % 3].tolist(), (14, 16)), (ids(20).tolist(), (30, 5))]:
        row = {"promptIds": prompt, "responses": [ids(length).tolist() for length in responses]}
        batch["rows"].append(row)
        for response in row["responses"]:
            sequence = torch.tensor([prompt + response], device=device)
            logps = torch.log_softmax(model(sequence).logits[0, :-1], -1).gather(1, sequence[0, 1:, None])[
                len(prompt) - 1 :, 0
            ]
            weight = torch.randn(len(response))
            loss = loss + (weight.to(device) * logps).sum()
            outputs[f"logps {len(batch['weights'])}"] = logps.detach()
            batch["weights"].append(weight.tolist())
    loss.backward()
    outputs |= {
        f"gradient {name.removeprefix('transformer.')}": weight.grad for name, weight in model.named_parameters()
    }
    batch["greedy"] = greedy(model, [ids(length).tolist() for length in (5, 9, 3, 12)], 24, device)
    save_file({name: tensor.contiguous().cpu() for name, tensor in outputs.items()}, out / "outputs.safetensors")
    (out / "batch.json").write_text(json.dumps(batch))


def write_adapter(out):
    """An adapter of rank 8 on all four matrices of every block, for the model in `out`; A and B are drawn wide enough
    (0.05) to change the logits by more than 0.1."""
    from peft import LoraConfig, PeftModel, get_peft_model  # not on every machine that has the rest

    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")  # which PEFT reads
    load = lambda: GPT2LMHeadModel.from_pretrained(out / "model").eval()
    torch.manual_seed(126)
    adapted = get_peft_model(
        load(),
        LoraConfig(
            task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True
        ),
    )
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.05)
    adapted.save_pretrained(out / "adapter")
    inputs = json.loads((out / "batch.json").read_text())["inputs"][ADAPTER_INPUT]
    given = {
        "input_ids": torch.tensor(inputs["inputIds"]),
        "attention_mask": torch.tensor(inputs["attentionMask"]),
        "position_ids": torch.tensor(inputs["positionIds"]),
    }
    base = load()
    with torch.no_grad():
        plain = base(**given).logits
        logits = PeftModel.from_pretrained(base, out / "adapter").eval()(**given).logits
    assert (logits - plain).abs().max() > 0.1
    save_file({"logits": logits.contiguous()}, out / "adapter.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--adapter", action="store_true")
    options = parser.parse_args()
    write(options.shape, options.out)
    if options.adapter:
        write_adapter(options.out)


if __name__ == "__main__":
    main()
