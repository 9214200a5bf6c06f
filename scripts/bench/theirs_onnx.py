"""onnxruntime in Python as a contender of bench.ts, with the model of export_onnx.py: greedy generation of all rows at
once. Keys and values stay in onnxruntime's own tensors from one token to the next."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from protocol import serve


def generation(task):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    path = Path(task["onnx"], "onnx", "decoder_model_merged.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    value = onnxruntime.OrtValue.ortvalue_from_numpy
    past = {entry.name: entry.shape for entry in session.get_inputs() if entry.name.startswith("past")}
    outputs = [entry.name for entry in session.get_outputs()]
    kept = [name.replace("present", "past_key_values") for name in outputs[1:]]
    prompts = np.array(task["prompts"], dtype=np.int64)

    def repeat():
        ids, made = prompts, []
        cache = {
            name: value(np.zeros((len(ids), heads, 0, width), np.float32))
            for name, (_, heads, _, width) in past.items()
        }
        for n in range(task["newTokens"]):
            seen = np.ones((len(ids), prompts.shape[1] + n), np.int64)
            feed = {"input_ids": value(ids), "attention_mask": value(seen), **cache}
            logits, *states = session.run_with_ort_values(outputs, feed)
            cache = dict(zip(kept, states))
            ids = logits.numpy()[:, -1].argmax(-1)[:, None]
            made.append(ids[:, 0].tolist())
        return [list(row) for row in zip(*made)]

    return repeat


if __name__ == "__main__":
    serve(generation(json.loads(sys.argv[1])))
