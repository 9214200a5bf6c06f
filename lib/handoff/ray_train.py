"""The run of train.py under Ray Train: Ray starts the processes, on one node or on many.

    python ray_train.py --workers 2
    python ray_train.py --workers 16 --use-gpu --address auto --out /shared/out

This folder must be at the same path on every node (a shared disk). README.md says how to start the nodes.
"""

import argparse

import ray
from ray.train import ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer


def worker(config):
    from train import main  # in the worker, where Ray has already set WORLD_SIZE, RANK and MASTER_ADDR

    main(config["arguments"])


def launch():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, required=True, help="processes in all")
    parser.add_argument(
        "--use-gpu", action="store_true", help="one GPU per worker, with nccl; default: the CPU, with gloo"
    )
    parser.add_argument("--address", help="of a running cluster, such as auto; default: start one on this machine")
    parser.add_argument("--spread", action="store_true", help="put the workers on different nodes")
    options, arguments = parser.parse_known_args()
    from train import HERE

    ray.init(address=options.address, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": str(HERE)}})
    trainer = TorchTrainer(
        worker,
        train_loop_config={"arguments": [*arguments, "--processes", str(options.workers)]},
        torch_config=TorchConfig(backend="nccl" if options.use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=options.workers,
            use_gpu=options.use_gpu,
            placement_strategy="SPREAD" if options.spread else "PACK",
        ),
    )
    trainer.fit()


if __name__ == "__main__":
    launch()
