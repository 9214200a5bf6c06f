"""Makes tests/expected/*.json, what each cell of the notebooks must print, with PyTorch and transformers.

Each notebook has a Python twin in this folder, with a `# %% [id]` cell for each of the notebook's cells of that id. The
twins run here in order, on the model in data/models/tiny: those of the walkthrough, 01 to 05, in one namespace, each later
one in its own. What a cell prints is what its TypeScript counterpart must print, within the tolerance that the cell states as
`# Tolerance X: why`, else within TOLERANCE. What the walkthrough itself printed is in walkthrough.json: where it does not
depend on the weights, the twin must print the same.

    python tests/oracles/expected.py
"""
import contextlib
import io
import json
import os
import re
import sys
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


def run():
    """{notebook: {cell id: {"any" or "tiny": text}}}"""
    published = json.loads((HERE / "walkthrough.json").read_text())
    walkthrough = {"MODEL": str(TINY)}
    expected = {}
    for path in sorted(HERE.glob("[0-9][0-9]_*.py")):
        namespace = walkthrough if path.name[:2] <= "05" else {"MODEL": str(TINY)}
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
                sys.exit(f"{path.name} [{name}] prints\n{text}\nbut the walkthrough printed\n{published[name]}")
            else:
                texts[name]["any"] = published[name]
    return expected


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)  # one order of summation, whatever the machine
    transformers.utils.logging.disable_progress_bar()
    folder = OUT / "expected"
    folder.mkdir(parents=True, exist_ok=True)
    for stem, texts in run().items():
        made = {"notebook": f"{stem}.ipynb", "tolerance": TOLERANCE, "cells": texts}
        (folder / f"{stem}.json").write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
