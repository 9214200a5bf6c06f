"""Makes tests/fixtures/held-base.json: adapters on a base whose blocks are rounded to bfloat16, in PyTorch.

    .alignbook/oracles/bin/python tests/oracles/held_base.py

The models are those of tests/fixtures/engine. Each matrix of a block goes to torch.bfloat16 and back; everything after
that is float64: log-probs of the responses, without and with adapters on all four matrices of each block, and the
gradient of sum(weight * log-prob) with respect to the adapters. `unrounded` are the log-probs of the base as it was.
"""

import json

import torch
from training import ENGINE, LORA, OUT, Adapted, model_of, token_logps

NAMES = ("a-group", "five-layers")


def responses(case):
    return [(row["promptIds"], response) for row in case["rows"] for response in row["responses"]]


def all_logps(model, case):
    return [token_logps(model, prompt, response) for prompt, response in responses(case)]


def flat(tensor):
    return [round(value, 9) for value in tensor.flatten().tolist()]


def lists(tensors):
    return [flat(tensor) for tensor in tensors]


def held(name):
    case = json.loads((ENGINE / f"{name}.json").read_text())
    model = model_of(name).double().requires_grad_(False)
    unrounded = lists(all_logps(model, case))
    for weight in model.transformer.h.parameters():
        if weight.dim() > 1:
            weight.copy_(weight.to(torch.bfloat16))
    base = lists(all_logps(model, case))
    generator = torch.Generator().manual_seed(31)
    adapters = {}
    for layer, block in enumerate(model.transformer.h):
        for target in LORA["targets"]:
            part, matrix = target.split(".")
            adapted = Adapted(getattr(getattr(block, part), matrix), generator)
            setattr(getattr(block, part), matrix, adapted)
            adapters |= {f"h.{layer}.{target}.lora_{side}": getattr(adapted, side) for side in "AB"}
    logps = all_logps(model, case)
    sum((torch.tensor(weights).double() * values).sum() for weights, values in zip(case["weights"], logps)).backward()
    return {
        "unrounded": unrounded,
        "base": base,
        "logps": lists(logps),
        "adapters": {key: flat(value) for key, value in adapters.items()},
        "gradients": {key: flat(value.grad) for key, value in adapters.items()},
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    made = {"rank": LORA["rank"], "alpha": LORA["alpha"], "targets": LORA["targets"]}
    (OUT / "fixtures" / "held-base.json").write_text(json.dumps(made | {name: held(name) for name in NAMES}) + "\n")
