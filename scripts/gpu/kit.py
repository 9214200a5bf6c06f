"""
What pack.py and unpack.py share: the format of the kit.

The kit carries this library's CUDA build to a GPU machine that has no network and no Node, and can receive only files,
in transfers of a limited size. Its programs work together like this:

    pack.py     here, once: node, TensorFlow, the CUDA runtime and the compiled project (contents.py) become pieces,
                each small enough for one transfer
    unpack.py   there, after each transfer: takes in the pieces that arrived, says which are missing, assembles what
                is complete, and links the CUDA libraries that the machine has under the names that TensorFlow asks
                for; needs Python 3.11 and nothing else
    check.ts    there, at the end (unpack.py --check starts it): five steps under a budget of minutes, each line
                written as soon as its result is known
      device.ts   step 1  the libraries that were opened; operations that only a GPU runs; products, against PyTorch's
      cells.ts    step 2  the values of notebooks 1 to 5
      exact.ts    step 3  log-probs, gradients and greedy generation, against PyTorch's
      steps.ts    step 4  twenty steps of DPO, against the same steps on the CPU
      times.ts    step 5  times, against PyTorch's (times.py)
      values.py   what PyTorch computes for steps 1 and 3

A machine with Node and a network needs neither pack nor unpack: npm run gpu:check is check.ts in the project itself.
bare.sh is for rehearsals: an environment that has Python and nothing else.

A part is a tar file, cut into blocks: `libraries` holds node, TensorFlow, packages and the embedded model, `project`
what changes with the code. Each block is a separate xz stream, so that all cores work at both ends, and a piece
consists of as many consecutive streams as fit. A piece's name contains its hash: when the kit is packed again, an
unchanged piece has the same name and need not be copied again.
"""

import hashlib
import json
from pathlib import Path

FORMAT = 1
MANIFEST = "manifest.json"
MIB = 2**20


class KitError(Exception):
    """Says what is wrong, where, and what to do; printed as one line."""


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder):
    path = Path(folder, MANIFEST)
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError:
        raise KitError(f"{path} is missing: it travels with every piece; carry it, too") from None
    except ValueError as cause:
        raise KitError(f"{path} is damaged ({cause}); carry it again") from None
    if manifest.get("format") != FORMAT:
        raise KitError(
            f"{path} is of format {manifest.get('format')}, and this unpacks format {FORMAT}: "
            "pack again with this project's version"
        )
    return manifest


def pieces_of(manifest):
    return [piece for part in manifest["parts"] for piece in part["pieces"]]
