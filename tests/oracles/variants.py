"""Makes tests/fixtures/variants: GPT-2s of the kinds that people have besides OpenAI's, and what transformers computes
with them in float64 (where attention is reordered, in float32).

    .alignbook/oracles/bin/python tests/oracles/variants.py

NAME.safetensors holds a model's weights as save_pretrained names them, and `gradient.…` of sum(weight * log-prob) over
the responses' tokens, `trained.…` after three steps of torch.optim.AdamW on that sum (see engine.py), all rounded to
float32; NAME.json its config.json, prompts with their responses, a weight for each response token, their log-probs,
each response computed alone, and greedy continuations of the prompts.
"""

import json
import os
from pathlib import Path

import torch
from engine import response_logps, train, weighted_sum
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

OUT = Path(os.environ.get("ORACLES_OUT", Path(__file__).resolve().parent.parent))
FOLDER = OUT / "fixtures" / "variants"

CASES = {
    "gelu": dict(activation_function="gelu"),
    "gelu_pytorch_tanh": dict(activation_function="gelu_pytorch_tanh"),
    "quick_gelu": dict(activation_function="quick_gelu"),
    "silu": dict(activation_function="silu"),
    "relu": dict(activation_function="relu"),
    "narrow": dict(n_inner=12),
    "by-layer": dict(scale_attn_by_inverse_layer_idx=True),
    "unscaled": dict(scale_attn_weights=False),
    "reordered": dict(reorder_and_upcast_attn=True, scale_attn_by_inverse_layer_idx=True),  # as stanford-crfm's
    "untied": dict(tie_word_embeddings=False),
    "cerebras": dict(activation_function="gelu", n_inner=32, scale_attn_weights=True),
    "all": dict(
        activation_function="gelu",
        n_inner=20,
        scale_attn_by_inverse_layer_idx=True,
        reorder_and_upcast_attn=True,
        tie_word_embeddings=False,
    ),
}
ROWS = [(4, [3, 5]), (2, [6, 1])]


def main():
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(177)
    for name, more in CASES.items():
        config = GPT2Config(
            n_layer=2,
            n_head=2,
            n_embd=8,
            n_positions=12,
            vocab_size=13,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
            attn_implementation="eager",
            **more,
        )
        model = GPT2LMHeadModel(config).eval()
        for weight_name, weight in model.named_parameters():
            mean = 1.0 if "ln_" in weight_name and weight_name.endswith("weight") else 0.0
            with torch.no_grad():
                weight.copy_(mean + 0.4 * torch.randn(weight.shape, generator=generator))
        tensors = {key: weight.detach().clone() for key, weight in model.named_parameters()}
        if not more.get("reorder_and_upcast_attn"):  # which transformers computes in float32 alone
            model = model.double()
        ids = lambda length: torch.randint(1, config.vocab_size, (length,), generator=generator).tolist()
        case = {
            "config": json.loads(config.to_json_string(use_diff=False)),
            "rows": [],
            "logps": [],
            "weights": [],
            "greedy": [],
        }
        for prompt_length, response_lengths in ROWS:
            row = {"promptIds": ids(prompt_length), "responses": [ids(length) for length in response_lengths]}
            case["rows"].append(row)
            for response in row["responses"]:
                case["logps"].append([round(x, 9) for x in response_logps(model, row, response)[0].tolist()])
                case["weights"].append([round(x, 4) for x in torch.randn(len(response), generator=generator).tolist()])
            prompt = torch.tensor([row["promptIds"]])
            made = model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                do_sample=False,
                max_new_tokens=8,
                pad_token_id=0,
                eos_token_id=None,
            )
            case["greedy"].append(made[0, prompt.shape[1] :].tolist())
        weighted_sum(model, case).backward()
        tensors |= {f"gradient.{key}": weight.grad.detach().float() for key, weight in model.named_parameters()}
        train(model, case)
        tensors |= {f"trained.{key}": weight.detach().float() for key, weight in model.named_parameters()}
        save_file({key: value.float().contiguous() for key, value in tensors.items()}, FOLDER / f"{name}.safetensors")
        kept = (
            "model_type",
            "n_layer",
            "n_head",
            "n_embd",
            "n_positions",
            "vocab_size",
            "layer_norm_epsilon",
            "bos_token_id",
            "eos_token_id",
            *CASES["all"],
            "scale_attn_weights",
        )
        case["config"] = {key: case["config"][key] for key in kept if case["config"].get(key) is not None}
        (FOLDER / f"{name}.json").write_text(json.dumps(case) + "\n")


if __name__ == "__main__":
    main()
