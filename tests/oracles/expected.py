"""Makes tests/expected/*.json, what each cell of the notebooks must print, with PyTorch and transformers.

Each notebook has a Python twin in this folder, with a `# %% [id]` cell for each of the notebook's cells of that id. The
twins run here on the model in data/models/tiny, side by side: those of the walkthrough, 01 to 05, one after the other
in one namespace, each later one in its own. What a cell prints is what its TypeScript counterpart must print, within
the tolerance that the cell states as `# Tolerance X: why`, else within TOLERANCE. What the walkthrough itself printed
is in walkthrough.json: where it does not depend on the weights, the twin must print the same.

    python tests/oracles/expected.py
"""

import contextlib
import io
import json
import os
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
import transformers

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TINY = ROOT / "data" / "models" / "tiny"
OUT = Path(os.environ.get("ORACLES_OUT", ROOT / "tests"))
DEPENDS = "# Depends on the weights."
# Log-probs of float32 models, summed over 21 tokens in another order: differences of 2e-5 were seen.
TOLERANCE = {"absolute": 1e-4, "relative": 1e-5}


def cells(path):
    """(id, source) of each `# %% [id]` cell; what precedes the first one belongs to it."""
    head, *rest = re.split(r"^# %% \[([\w-]+)\]$", path.read_text(), flags=re.MULTILINE)
    for index in range(0, len(rest), 2):
        yield rest[index], (head if index == 0 else "") + rest[index + 1]


def lessons():
    """The twins that share a namespace, in order."""
    paths = sorted(HERE.glob("[0-9][0-9]_*.py"))
    return [[path for path in paths if path.name[:2] <= "05"], *([path] for path in paths if path.name[:2] > "05")]


def run(lesson):
    """{notebook: {cell id: {"any" or "tiny": text}}}"""
    torch.manual_seed(0)
    published = json.loads((HERE / "walkthrough.json").read_text())
    namespace = {"MODEL": str(TINY)}
    expected = {}
    for path in lesson:
        texts = expected[path.stem.replace("_", "-")] = {}
        for name, source in cells(path):
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(source, f"{path.name} [{name}]", "exec"), namespace)
            text = printed.getvalue().rstrip("\n")
            if not text:
                continue
            depends = source.lstrip("\n").startswith(DEPENDS)
            texts[name] = {"tiny" if depends else "any": text}
            own = re.search(r"^# Tolerance ([\d.]+): ", source, re.MULTILINE)
            if own:
                texts[name]["tolerance"] = {"absolute": float(own[1]), "relative": 0}
            if name not in published:
                continue
            if depends:
                texts[name]["gpt2"] = published[name]
            elif text.split() != published[name].split():
                raise ValueError(f"{path.name} [{name}] prints\n{text}\nbut the walkthrough printed\n{published[name]}")
            else:
                texts[name]["any"] = published[name]
    return expected


def prepare():
    torch.set_num_threads(1)  # one order of summation, whatever the machine
    transformers.utils.logging.disable_progress_bar()


def main():
    folder = OUT / "expected"
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=prepare) as pool:
        for expected in pool.map(run, lessons()):
            for stem, texts in expected.items():
                made = {"notebook": f"{stem}.ipynb", "tolerance": TOLERANCE, "cells": texts}
                (folder / f"{stem}.json").write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
