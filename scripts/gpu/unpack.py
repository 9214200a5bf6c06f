"""
python3 unpack.py [OPTIONS]: takes in pieces of the kit on the GPU machine, as they come (kit.py says how it works).

Run it after each transfer, or once after all. It keeps what came, refuses what is damaged, names what is missing, and
puts together
each part whose pieces are all there. Needs Python 3.11 or newer, and no package.

  --from FOLDER   where manifest.json and the pieces lie that came (default: .alignbook/gpu of the project that this
                  file is in)
  --to FOLDER     where they are kept and put together (default: /tmp/alignbook-gpu)
  --check …       once complete, run the check, with the options that follow (npm run gpu:check -- --help lists them)
  --help

Exit status: 0 complete (with --check: the check's own), 1 something is damaged, 2 usage, 3 pieces are missing yet.
"""

import argparse
import glob
import io
import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True
from kit import MANIFEST, KitError, digest, pieces_of, read_manifest  # noqa: E402

CUDA_12 = {
    "libcudart.so.12": "cuda_runtime",
    "libcublas.so.12": "cublas",
    "libcublasLt.so.12": "cublas",
    "libcufft.so.11": "cufft",
    "libcusolver.so.11": "cusolver",
    "libcusparse.so.12": "cusparse",
    "libcudnn.so.9": "cudnn",
}
"""The libraries that TensorFlow opens by name, and the folder of nvidia/ in which it looks for each."""
USED = ("libcudart", "libcublas", "libcublasLt")
"""The libraries with which GPT-2 computes; the others only have to exist."""


def take_in(manifest, source, store):
    """Keeps the pieces that arrived. -> names of the pieces that are still missing"""
    store.mkdir(parents=True, exist_ok=True)
    missing, damaged = [], []
    for piece in pieces_of(manifest):
        name, kept = piece["name"], store / piece["name"]
        if kept.is_file() and kept.stat().st_size == piece["bytes"]:
            continue  # it was checked when it arrived
        came = source / name
        if not came.is_file():
            missing.append(name)
        elif came.stat().st_size != piece["bytes"] or digest(came) != piece["sha256"]:
            damaged.append(name)
        else:
            temporary = store / f"{name}.tmp"
            shutil.copyfile(came, temporary)
            temporary.rename(kept)
            print(f"received {name}, {piece['bytes'] / 1e6:.1f} MB", flush=True)
    if damaged:
        raise KitError(
            f"damaged on its way: {', '.join(damaged)} (its size or sha256 is not the manifest's); carry it again"
        )
    return missing


class Joined(io.RawIOBase):
    """The decompressed pieces as one file, decompressed several pieces ahead of the reader."""

    def __init__(self, paths):
        self.pool = ThreadPoolExecutor(os.cpu_count())
        self.parts = self.pool.map(lambda path: lzma.decompress(path.read_bytes()), paths)
        self.part = memoryview(b"")

    def readable(self):
        return True

    def readinto(self, buffer):
        while not self.part:
            following = next(self.parts, None)
            if following is None:
                return 0
            self.part = memoryview(following)
        count = min(len(buffer), len(self.part))
        buffer[:count] = self.part[:count]
        self.part = self.part[count:]
        return count

    def close(self):
        self.pool.shutdown(cancel_futures=True)
        super().close()


def put_together(part, store, project):
    """Does nothing if the part is already assembled. Names a damaged piece of the store, and removes it."""
    done = store / f"{part['name']}.done"
    if done.is_file() and done.read_text() == part["sha256"]:
        return
    start = time.monotonic()
    for piece in part["pieces"]:
        if digest(store / piece["name"]) != piece["sha256"]:
            (store / piece["name"]).unlink()
            raise KitError(f"{piece['name']} was damaged after it came; carry it again")
    with (
        Joined([store / piece["name"] for piece in part["pieces"]]) as file,
        tarfile.open(fileobj=io.BufferedReader(file, 1 << 22), mode="r|") as tar,
    ):
        tar.extractall(project, filter="data")
    done.write_text(part["sha256"])
    print(f"put together {part['name']}, {part['bytes'] / 1e6:.0f} MB, in {time.monotonic() - start:.1f} s", flush=True)


def library_folders():
    """Where CUDA's libraries may be: beside PyTorch's, in the loader's path, in the toolkit."""
    beside = [
        folder for path in sys.path for folder in glob.glob(f"{path}/nvidia/*/lib") + glob.glob(f"{path}/torch/lib")
    ]
    system = [
        "/usr/local/cuda/lib64",
        *sorted(glob.glob("/usr/local/cuda-*/lib64"), reverse=True),
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib64",
    ]
    return [
        folder
        for folder in dict.fromkeys([*beside, *os.environ.get("LD_LIBRARY_PATH", "").split(":"), *system])
        if folder and os.path.isdir(folder)
    ]


def own_library(name, folders):
    """The machine's library: one with exactly this name, or else the newest of another version (libcublas.so.13) in the
    first folder that has one."""
    stem = name.split(".so")[0]
    for folder in folders:
        if os.path.isfile(f"{folder}/{name}"):
            return f"{folder}/{name}"
    for folder in folders:
        versions = [
            path for path in glob.glob(f"{folder}/{stem}.so.*") if path.removeprefix(f"{folder}/{stem}.so.").isdigit()
        ]
        if versions:
            return max(versions, key=lambda path: int(path.rsplit(".", 1)[1]))
    return None


def replace_link(target, link):
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def link_cuda(project):
    """Links every name that TensorFlow opens to a library: the carried one, the machine's or, for libraries that are
    not used, an empty one."""
    nvidia = project / ".alignbook/tensorflow/nvidia"
    if not nvidia.is_dir():
        return  # the CPU build opens none
    folders = library_folders()
    for name, folder in CUDA_12.items():
        link = nvidia / folder / "lib" / name
        if link.is_file() and not link.is_symlink():
            print(f"{name:18} carried")
            continue
        own = own_library(name, folders)
        if own is None and name.split(".so")[0] in USED:
            print(
                f"{name:18} MISSING: nothing of that name is in {', '.join(folders)}; "
                "set LD_LIBRARY_PATH to CUDA's folder, or pack with --cublas"
            )
            link.unlink(missing_ok=True)
            continue
        replace_link(own or nvidia / "libempty.so", link)
        if own is not None and not os.path.lexists(link.with_name(os.path.basename(own))):
            replace_link(own, link.with_name(os.path.basename(own)))  # cuBLAS looks for cuBLASLt in its own folder
        print(f"{name:18} {own or 'empty: GPT-2 calls nothing of it'}")


def check(project, options):
    """Node uses the machine's C++ libraries, or the carried ones if the machine's are too old for it."""
    node = project / "node/bin/node"
    env = {
        **os.environ,
        "LD_LIBRARY_PATH": ":".join(
            [
                *filter(None, [os.environ.get("LD_LIBRARY_PATH")]),
                *(folder for folder in library_folders() if "nvidia" in folder or "cuda" in folder),
            ]
        ),
    }
    addon = project / "node_modules/@tensorflow/tfjs-node-gpu/lib/napi-v8/tfjs_binding.node"
    tried = subprocess.run(
        [node, "-e", f"process.dlopen({{ exports: {{}} }}, {json.dumps(str(addon))})"],
        env=env,
        capture_output=True,
        text=True,
    )
    if tried.returncode != 0:
        env["LD_LIBRARY_PATH"] = f"{project / 'node/lib'}:{env['LD_LIBRARY_PATH']}"
        last = (tried.stderr.strip().splitlines() or ["it ended without a message"])[-1]
        print(
            f"with this machine's C++ library TensorFlow does not load ({last[:200]}): trying the carried one",
            flush=True,
        )
    command = [node, project / ".alignbook/build/scripts/gpu/check.js", "--python", sys.executable, *options]
    return subprocess.run(command, env=env, cwd=project).returncode


def unpack(source, target, checked):
    manifest = read_manifest(source)
    store, project = target / "pieces", target / "project"
    missing = take_in(manifest, source, store)
    shutil.copyfile(source / MANIFEST, target / MANIFEST)
    for part in manifest["parts"]:
        if not any(piece["name"] in missing for piece in part["pieces"]):
            put_together(part, store, project)
    count = len(pieces_of(manifest))
    if missing:
        print(f"{count - len(missing)} of {count} pieces are there; missing: {' '.join(missing)}")
        return 3
    print(
        f"all {count} pieces are there: the kit of {manifest['made']}, {manifest['commit']}, "
        f"TensorFlow {manifest['tensorflow']}, {manifest['build']} build, lies in {project}",
        flush=True,
    )
    if (project / "lib").is_dir():
        replace_link(Path("../lib"), project / "node_modules/alignbook")
    link_cuda(project)
    return 0 if checked is None else check(project, checked)


def main():
    parser = argparse.ArgumentParser(usage=__doc__, add_help=False)
    parser.add_argument("--from", dest="source", type=Path, default=Path(__file__).parent / "../../.alignbook/gpu")
    parser.add_argument("--to", dest="target", type=Path, default=Path("/tmp/alignbook-gpu"))
    parser.add_argument("--check", nargs=argparse.REMAINDER)
    parser.add_argument("--help", "-h", action="store_true")
    options = parser.parse_args()
    if options.help:
        print(__doc__.strip())
        return 0
    try:
        return unpack(options.source.resolve(), options.target.resolve(), options.check)
    except KitError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
