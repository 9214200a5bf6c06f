"""Makes tests/fixtures/engine: GPT-2s of odd sizes, and what transformers computes with them in float64.

    .alignbook/oracles/bin/python tests/oracles/engine.py

NAME.safetensors holds a model's weights, under the names `weight.…`; NAME.json its config, prompts with their responses
and a weight for each response token; then the final hidden states and the log-probs of the responses' tokens, each
computed alone, without any padding. `gradient.…` in NAME.safetensors is that of sum(weight * log-prob), rounded to
float32.

For a-group, `trained.…` are the weights after three steps of torch.optim.AdamW on that sum, clipped by clip_grad_norm_.
Its epsilon is large, so that an element whose gradient is nearly 0 does not move by the sign of a rounding error.
"""

import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

OUT = Path(os.environ.get("ORACLES_OUT", Path(__file__).resolve().parent.parent))
FOLDER = OUT / "fixtures" / "engine"

# name: layers, heads, width, block size, vocabulary, epsilon, and for each prompt its length and those of its responses
CASES = {
    "one-head": (2, 1, 10, 16, 23, 1e-5, [(4, [3, 5]), (2, [6, 1])]),
    "five-layers": (5, 2, 8, 16, 19, 1e-5, [(3, [4, 4]), (5, [2, 7])]),
    "width-21": (1, 3, 21, 12, 17, 1e-5, [(6, [6, 2])]),
    "block-8": (2, 2, 8, 8, 11, 1e-5, [(1, [7, 1]), (7, [1, 1])]),
    "width-1-a-head": (1, 6, 6, 10, 13, 1e-5, [(4, [2, 3])]),
    "two-tokens": (1, 2, 4, 2, 2, 1e-5, [(1, [1])]),
    "large-epsilon": (2, 2, 12, 10, 29, 1e-1, [(3, [3, 3])]),
    "small-epsilon": (2, 2, 12, 10, 29, 1e-12, [(3, [3, 3])]),
    "a-group": (2, 4, 16, 20, 37, 1e-5, [(5, [3, 1, 8, 2, 5, 4])]),
    "repeated-ids": (2, 3, 9, 32, 3, 1e-5, [(12, [9, 14]), (20, [11, 6])]),
}


def response_logps(model, row, response):
    sequence = torch.tensor([row["promptIds"] + response])
    output = model(sequence, output_hidden_states=True)
    first = len(row["promptIds"]) - 1
    return torch.log_softmax(output.logits[0, :-1], -1).gather(1, sequence[0, 1:, None])[
        first:, 0
    ], output.hidden_states[-1][0]


def weighted_sum(model, case):
    logps = [response_logps(model, row, response)[0] for row in case["rows"] for response in row["responses"]]
    return sum((torch.tensor(weights).double() * values).sum() for weights, values in zip(case["weights"], logps))


def named(kind, model, value):
    return {
        f"{kind}.{key.removeprefix('transformer.')}": value(weight).detach().float()
        for key, weight in model.named_parameters()
    }


def train(model, case):
    matrices = [weight for weight in model.parameters() if weight.dim() > 1]
    rest = [weight for weight in model.parameters() if weight.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-3)
    for lr in (0.01, 0.02, 0.005):
        optimizer.zero_grad()
        weighted_sum(model, case).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()


def main():
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(175)
    for name, (layers, heads, width, block, vocabulary, epsilon, rows) in CASES.items():
        config = GPT2Config(
            n_layer=layers,
            n_head=heads,
            n_embd=width,
            n_positions=block,
            vocab_size=vocabulary,
            layer_norm_epsilon=epsilon,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
            attn_implementation="eager",
        )
        model = GPT2LMHeadModel(config).eval()
        for weight_name, weight in model.named_parameters():
            mean = 1.0 if "ln_" in weight_name and weight_name.endswith("weight") else 0.0
            with torch.no_grad():
                weight.copy_(mean + 0.4 * torch.randn(weight.shape, generator=generator))
        weights = {
            key.removeprefix("transformer."): weight.detach().clone() for key, weight in model.named_parameters()
        }
        model = model.double()

        ids = lambda length: torch.randint(0, vocabulary, (length,), generator=generator).tolist()
        case = {
            "config": json.loads(config.to_json_string(use_diff=False)),
            "rows": [],
            "logps": [],
            "weights": [],
            "hidden": [],
        }
        for prompt_length, response_lengths in rows:
            row = {"promptIds": ids(prompt_length), "responses": [ids(length) for length in response_lengths]}
            case["rows"].append(row)
            for response in row["responses"]:
                logps, hidden = response_logps(model, row, response)
                case["logps"].append(logps.tolist())
                case["weights"].append(
                    [round(weight, 4) for weight in torch.randn(len(response), generator=generator).tolist()]
                )
                case["hidden"].append(hidden.tolist())
        weighted_sum(model, case).backward()
        tensors = {f"weight.{key}": weight for key, weight in weights.items()} | named(
            "gradient", model, lambda weight: weight.grad
        )
        if name == "a-group":
            train(model, case)
            tensors |= named("trained", model, lambda weight: weight)
        save_file(tensors, FOLDER / f"{name}.safetensors")
        kept = ("model_type", "n_layer", "n_head", "n_embd", "n_positions", "vocab_size", "layer_norm_epsilon")
        case["config"] = {key: case["config"][key] for key in kept}
        rounded = lambda value: [rounded(item) for item in value] if isinstance(value, list) else round(value, 9)
        case |= {key: rounded(case[key]) for key in ("logps", "hidden")}
        (FOLDER / f"{name}.json").write_text(json.dumps(case) + "\n")


if __name__ == "__main__":
    main()
