#!/usr/bin/env bash
# TensorFlow 2.21.0: once a variable has been updated by rows, every later read of it is a copy, for good.
#
# Reading a variable gives a tensor that shares its memory. A scatter update, as optimizers make it for an embedding's
# sparse gradient, changes that for the rest of the variable's life: each read then copies all of it, even if the update
# had no rows. A dense update in between does not undo it. For GPT-2's embedding this is 154 MB for each read.
#
# Seen: before, two reads have one address; after an update without a row, they have two, and after a dense one, too.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet tensorflow-cpu==2.21.0
TF_CPP_MIN_LOG_LEVEL=3 "$work/venv/bin/python" - <<'PYTHON' 2> "$work/log" || { cat "$work/log"; exit 1; }
import numpy as np
import tensorflow as tf

variable = tf.Variable(np.ones((1000, 64), np.float32))


def addresses():
    """Of the memory of two reads, both held."""
    reads = [tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=tf.float32) for _ in range(2)]
    return len({np.from_dlpack(read).__array_interface__["data"][0] for read in reads})


counts = {"before": addresses()}
no_rows = dict(indices=np.zeros(0, np.int32), updates=np.zeros((0, 64), np.float32))
tf.raw_ops.ResourceScatterSub(resource=variable.handle, **no_rows)
counts["after an update without a row"] = addresses()
tf.raw_ops.AssignSubVariableOp(resource=variable.handle, value=np.ones((1000, 64), np.float32))
counts["after a dense update, too"] = addresses()
print("addresses of two reads:", counts)
assert list(counts.values()) == [1, 2, 2]
PYTHON
