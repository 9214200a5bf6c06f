"""
Exports a GPT-2 of transformers for transformers.js 2, for bench.ts: python export_onnx.py MODEL FOLDER

Writes config.json and onnx/decoder_model_merged.onnx to FOLDER. The inputs are input_ids, attention_mask and
past_key_values.N.{key,value}, which is empty in the first step. The outputs are present.N.{key,value} and the logits of
the last position, because generate() reads no others. Attention is eager, because fused attention, as the exporter
writes it, would scale all cached keys in each step.
"""

import os
import shutil
import sys
import warnings
from pathlib import Path

import torch
from transformers import DynamicCache, GPT2LMHeadModel


class Step(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model
        self.register_buffer("zero", torch.zeros(1))

    def forward(self, ids, attention_mask, *past):
        new, cached = ids.shape[1], past[0].shape[2]
        positions = torch.arange(cached + new)
        causal = positions[None, :] <= positions[cached:, None]
        seen = causal[None, None] & attention_mask[:, None, None, :].bool()
        mask = torch.where(seen, 0.0, torch.finfo(torch.float32).min)
        cache = DynamicCache(list(zip(past[::2], past[1::2])))
        hidden = self.model.transformer(
            ids, past_key_values=cache, attention_mask=mask, position_ids=positions[None, cached:], use_cache=True
        )[0]
        logits = torch.addmm(
            self.zero, hidden[:, -1], self.model.transformer.wte.weight.t()
        )  # becomes a Gemm, which shares the embedding's memory
        return logits[:, None], *(states for layer in cache.layers for states in (layer.keys, layer.values))


def export(model, path):
    config = model.config
    rows, new, cached = 2, 3, 4  # sizes of the example that is traced
    names = [f"{layer}.{kind}" for layer in range(config.n_layer) for kind in ("key", "value")]
    past = [torch.rand(rows, config.n_head, cached, config.n_embd // config.n_head) for _ in names]
    inputs, outputs = ([f"{beginning}.{name}" for name in names] for beginning in ("past_key_values", "present"))
    axes = {"input_ids": {0: "rows", 1: "new"}, "attention_mask": {0: "rows", 1: "all"}, "logits": {0: "rows"}}
    axes |= {name: {0: "rows", 2: "cached"} for name in inputs} | {name: {0: "rows", 2: "all"} for name in outputs}
    ids, seen = torch.zeros(rows, new, dtype=torch.int64), torch.ones(rows, cached + new, dtype=torch.int64)
    with torch.no_grad():
        torch.onnx.export(
            Step(model),
            (ids, seen, *past),
            path,
            input_names=["input_ids", "attention_mask", *inputs],
            output_names=["logits", *outputs],
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,  # the format that onnxruntime 1.14 reads
        )


def main(model, folder):
    warnings.simplefilter("ignore")  # the exporter warns about being the older one, and about the empty caches
    temporary = Path(f"{folder}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / "onnx").mkdir(parents=True)
    export(
        GPT2LMHeadModel.from_pretrained(model, dtype=torch.float32, attn_implementation="eager").eval(),
        temporary / "onnx" / "decoder_model_merged.onnx",
    )
    shutil.copy(Path(model, "config.json"), temporary)
    os.rename(temporary, folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
