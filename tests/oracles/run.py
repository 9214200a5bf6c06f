"""Runs every oracle script, and says where what it makes differs from what is kept in tests/.

    python tests/oracles/run.py          makes tests/fixtures and tests/expected anew
    python tests/oracles/run.py --check  makes them in a temporary folder and fails where a kept file differs
    python tests/oracles/run.py --check --quick  the same without tests/expected, whose trainings in PyTorch take
                                                 longest

Files need not be equal to the byte: another processor sums in another order. Numbers may differ by 1e-5 of their size
(of 1, if that is more), everything else not at all.
"""

import argparse
import json
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.torch import load_file

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent
MODELS = ("gpt2.py", "engine.py")  # on which others compute
SCRIPTS = (
    *(
        "training.py",
        "expected.py",
        "ppo_trl.py",
        "grpo_trl.py",
        "reward.py",
        "settings.py",
    ),  # those that take long begin first
    *(
        "variants.py",
        "generate.py",
        "tokenizer.py",
        "tokenizer_kinds.py",
        "chat_templates.py",
        "safetensors_cases.py",
        "half_floats.py",
        "logps.py",
        "adapters.py",
        "held_base.py",
        "kto.py",
        "plain_text.py",
    ),
    *(
        "ppo_step.py",
        "grpo_step.py",
        "online_dpo.py",
        "losses.py",
        "preference_losses.py",
        "play.py",
        "hub_cache.py",
        "hub_requests.py",
        "dataset.py",
        "data_sets.py",
        "evaluate.py",
    ),
)
AT_A_TIME = 2
SERVER = multiprocessing.get_context("forkserver")
TRL_PPO = TESTS.parent / ".alignbook" / "trl-ppo"  # TRL 1.12, which ppo_trl.py finds before the environment's own
TOLERANCE = 1e-5


# Scripts start from a process that has these already: importing them takes longer than most scripts.
PRELOADED = (
    "datasets",
    "peft",
    "transformers.models.gpt2.modeling_gpt2",
    *(f"trl.trainer.{kind}_trainer" for kind in ("dpo", "grpo", "kto", "reward", "sft")),
    *("trl.experimental.cpo", "trl.experimental.online_dpo", "trl.experimental.orpo"),
)
QUIET = {"TQDM_DISABLE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}


def run(script, out):
    start = time.monotonic()
    with tempfile.NamedTemporaryFile() as log:
        if script == "ppo_trl.py":  # of another version of TRL
            env = {**os.environ, "PYTHONPATH": str(TRL_PPO), "ORACLES_OUT": str(out)}
            code = subprocess.run([sys.executable, HERE / script], env=env, stdout=log, stderr=log).returncode
        else:
            process = SERVER.Process(target=run_here, args=(script, str(out), log.name))
            process.start()
            process.join()
            code = process.exitcode
        print(f"{script}  {time.monotonic() - start:.0f} s", flush=True)
        if code != 0:
            printed = Path(log.name).read_text(errors="replace")
            raise RuntimeError(f"{script} ended with {code}:\n{printed[-4000:]}")


def run_here(script, out, log):
    """Runs a script in this process, whose output goes to a file."""
    file = os.open(log, os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ["ORACLES_OUT"] = out
    sys.path.insert(0, str(HERE))
    sys.argv = [str(HERE / script)]
    runpy.run_path(sys.argv[0], run_name="__main__")


def make(out, left_out=()):
    (out / "fixtures").mkdir(exist_ok=True)
    for script in MODELS:
        run(script, out)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        try:
            for done in [pool.submit(run, script, out) for script in SCRIPTS if script not in left_out]:
                done.result()
        except RuntimeError as error:
            pool.shutdown(cancel_futures=True)
            sys.exit(str(error))


def near(kept, made, tolerance):
    return kept == made or abs(kept - made) <= tolerance * max(1, abs(kept))


def same(kept, made, tolerance=TOLERANCE):
    if isinstance(kept, dict) and isinstance(made, dict):
        if (
            "tolerance" in kept and "cells" not in kept
        ):  # a cell of expected/ with a tolerance of its own: values of a training
            tolerance = kept["tolerance"]["absolute"]
        return kept.keys() == made.keys() and all(same(kept[key], made[key], tolerance) for key in kept)
    if isinstance(kept, list) and isinstance(made, list):
        return len(kept) == len(made) and all(same(a, b, tolerance) for a, b in zip(kept, made))
    if isinstance(kept, float) and isinstance(made, float):
        return near(kept, made, tolerance) or (kept != kept and made != made)
    if isinstance(kept, str) and isinstance(made, str) and kept != made:
        words = list(zip(kept.split(), made.split()))
        numbers = all(a == b or (is_float(a) and is_float(b) and near(float(a), float(b), tolerance)) for a, b in words)
        return len(kept.split()) == len(made.split()) and numbers
    return type(kept) is type(made) and kept == made


def is_float(word):
    try:
        return "." in word and float(word) is not None
    except ValueError:
        return False


def read(path):
    if path.suffix == ".parquet":  # as pyarrow reads it: another version may pack the same otherwise
        file = pq.ParquetFile(path)
        groups = [file.metadata.row_group(n) for n in range(file.num_row_groups)]
        columns = [[group.column(n) for n in range(group.num_columns)] for group in groups]
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, file.schema_arrow) as stream:
            stream.write_table(file.read())
        return [[[column.compression, *column.encodings] for column in group] for group in columns] + [
            sink.getvalue().to_pybytes()
        ]
    if path.suffix != ".safetensors":
        return json.loads(path.read_text())
    return {name: [str(tensor.dtype), *tensor.double().flatten().tolist()] for name, tensor in load_file(path).items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the kept files instead of writing them")
    parser.add_argument("--quick", action="store_true", help="with --check: leave out tests/expected")
    options = parser.parse_args()
    os.environ.update(QUIET)
    SERVER.set_forkserver_preload(list(PRELOADED))
    if not options.check:
        return make(TESTS)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        make(out, ("expected.py",) if options.quick else ())
        made = {path.relative_to(out) for path in out.rglob("*") if path.is_file()}
        kept = {
            path.relative_to(TESTS)
            for sub in (("fixtures",) if options.quick else ("fixtures", "expected"))
            for path in (TESTS / sub).rglob("*")
            if path.is_file()
        }
        wrong = sorted(str(path) for path in made ^ kept) + [
            str(path) for path in sorted(made & kept) if not same(read(TESTS / path), read(out / path))
        ]
    if wrong:
        sys.exit(f"these files of tests/ are not what the oracles make: {', '.join(wrong)}")
    print(f"{len(kept)} files of tests/ are what the oracles make")


if __name__ == "__main__":
    main()
