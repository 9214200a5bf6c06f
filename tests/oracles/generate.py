"""Makes tests/fixtures/generate.json: what transformers generates greedily, and the distributions that its samplers
draw from.

    .alignbook/oracles/bin/python tests/oracles/generate.py

The models are those of tests/fixtures/engine, in float64: a tie or a near tie would not be a fair question.
"""

import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

OUT = Path(os.environ.get("ORACLES_OUT", Path(__file__).resolve().parent.parent))
ENGINE = OUT / "fixtures" / "engine"


def model_of(name):
    sizes = json.loads((ENGINE / f"{name}.json").read_text())["config"]
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0, attn_implementation="eager")).eval()
    weights = {
        f"transformer.{key[7:]}": value
        for key, value in load_file(ENGINE / f"{name}.safetensors").items()
        if key.startswith("weight.")
    }
    model.load_state_dict(weights, strict=False)
    model.tie_weights()
    return model.double()


def greedy():
    generator = torch.Generator().manual_seed(7)
    for name, lengths, steps, penalty, suppress in [
        ("a-group", [5, 1, 3, 8], 12, 1.0, []),
        ("a-group", [4, 2], 14, 1.4, []),
        ("five-layers", [6, 6, 1], 9, 1.0, []),
        ("one-head", [2, 7, 3], 8, 1.2, []),
        ("width-21", [1], 10, 1.0, []),
        ("a-group", [5, 2], 12, 1.0, list(range(20, 37))),  # as if the tokenizer had 20 tokens
        ("a-group", [3, 3], 12, 1.3, list(range(1, 37, 2))),
    ]:
        model = model_of(name)
        vocabulary = model.config.vocab_size
        prompts = [torch.randint(1, vocabulary, (length,), generator=generator).tolist() for length in lengths]
        # Alone, without padding: the answer cannot depend on how a batch is padded.
        made = []
        for prompt in prompts:
            ids = torch.tensor([prompt])
            output = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=steps,
                repetition_penalty=penalty,
                pad_token_id=0,
                eos_token_id=None,
                suppress_tokens=suppress or None,
            )
            made.append(output[0, len(prompt) :].tolist())
        # The end-of-sequence token is one that comes up somewhere in the middle.
        eos = made[0][len(made[0]) // 2]
        ended = [ids[: ids.index(eos) + 1] if eos in ids else ids for ids in made]
        yield {
            "model": name,
            "prompts": prompts,
            "steps": steps,
            "penalty": penalty,
            "suppress": suppress,
            "made": made,
            "eos": eos,
            "ended": ended,
        }


def distributions():
    generator = torch.Generator().manual_seed(8)
    logits = (2 * torch.randn(1, 12, generator=generator)).round(decimals=4)
    logits[0, 5] = logits[0, 3]  # a tie
    present = torch.tensor([[1, 4, 4, 7]])
    for temperature, top_k, top_p, penalty in [
        (1.0, None, None, None),
        (0.5, None, None, None),
        (2.5, None, None, None),
        (1.0, 1, None, None),
        (1.0, 3, None, None),
        (1.0, 12, None, None),
        (1.0, None, 0.9, None),
        (1.0, None, 0.3, None),
        (1.0, None, 0.01, None),
        (0.7, 6, 0.8, None),
        (1.3, 4, 0.95, 1.5),
    ]:
        processors = LogitsProcessorList()
        if penalty:
            processors.append(RepetitionPenaltyLogitsProcessor(penalty))
        processors.append(TemperatureLogitsWarper(temperature))
        if top_k:
            processors.append(TopKLogitsWarper(top_k))
        if top_p:
            processors.append(TopPLogitsWarper(top_p))
        probabilities = torch.softmax(processors(present, logits.clone()).double(), -1)[0]
        options = {"temperature": temperature, "topK": top_k, "topP": top_p, "repetitionPenalty": penalty}
        yield {
            "logits": [round(x, 4) for x in logits[0].tolist()],
            "present": present[0].tolist(),
            "options": {key: value for key, value in options.items() if value is not None},
            "probabilities": [round(x, 9) for x in probabilities.tolist()],
        }


if __name__ == "__main__":
    fixtures = {"greedy": list(greedy()), "distributions": list(distributions())}
    (OUT / "fixtures" / "generate.json").write_text(json.dumps(fixtures) + "\n")
