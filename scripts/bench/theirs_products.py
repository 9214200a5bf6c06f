"""PyTorch as a contender of bench.ts: a matrix product, many times."""

import json
import os
import sys

import torch
from protocol import serve


def main():
    task = json.loads(sys.argv[1])
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    rows, inner, columns = task["product"]
    dtype = torch.bfloat16 if task["policy"] == "bf16" else torch.float32

    def factor(height, width):
        return (torch.arange(height * width) * 7919 % 1013).sub(506).div(1013).view(height, width).to(dtype)

    x, y = factor(rows, inner), factor(inner, columns)

    def repeat():
        for _ in range(task["times"]):
            product = x @ y
        return product[-1, :4].tolist()

    with torch.no_grad():
        serve(repeat)


if __name__ == "__main__":
    main()
