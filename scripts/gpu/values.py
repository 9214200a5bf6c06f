"""
PyTorch's side of steps 1 and 3: python values.py FOLDER DEVICE SHAPE…, called by check.ts.

Writes FOLDER/product.safetensors and product.json, then FOLDER/SHAPE for each shape, in the form of
tests/oracles/exactness.py; prints a JSON line for each as soon as it is written.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "oracles"))

import torch
from exactness import write
from safetensors.torch import save_file


def told(**value):
    print(json.dumps(value), flush=True)


def product(folder, device):
    """Two matrices, their product in float64, and the error of PyTorch's own product in each precision, relative to the
    largest element."""
    torch.manual_seed(7)
    x, y = torch.randn(512, 768), torch.randn(768, 1024)
    exact = x.double() @ y.double()
    there = x.to(device), y.to(device)
    errors = {}
    for policy in ("fp32", "tf32", "bf16"):
        torch.backends.cuda.matmul.allow_tf32 = policy == "tf32"
        factors = [matrix.bfloat16() for matrix in there] if policy == "bf16" else there
        own = (factors[0] @ factors[1]).double().cpu()
        errors[policy] = ((own - exact).abs().max() / exact.abs().max()).item()
    torch.backends.cuda.matmul.allow_tf32 = False
    save_file({"x": x, "y": y, "exact": exact.float()}, folder / "product.safetensors")
    (folder / "product.json").write_text(json.dumps(errors))


def main():
    folder, device, *shapes = sys.argv[1:]
    folder = Path(folder)
    on = f"on {torch.cuda.get_device_name(0)}" if device == "cuda" else "on the CPU"
    told(line=f"PyTorch {torch.__version__} computes {on}", verdict="seen")
    product(folder, device)
    told(made="product")
    for shape in shapes:
        write(shape, folder / shape, device)
        told(made=shape)


if __name__ == "__main__":
    main()
