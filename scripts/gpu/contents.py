"""The contents of the kit: files of this project, each with its place in the kit."""

import json
import os
import re
import subprocess
from pathlib import Path

from kit import KitError

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "node_modules"
MADE = ROOT / ".alignbook"

LIBRARY = json.loads((ROOT / "lib" / "package.json").read_text())
PACKAGES = [name for name in LIBRARY["peerDependencies"] if name != "plotly.js-dist"]
PACKAGES += ["tslab", "typescript5", "@types/node"]
"""The library's packages, and those with which the kernel compiles cells; plotly.js, which only pages need, is left
out."""
LEFT_BEHIND = {"zeromq", "rollup", "core-js", "@webgpu/types", "flatbuffers", "protobufjs", "onnx-proto"}
"""Packages that these list as dependencies, but that none of our code loads: Jupyter's sockets, browsers' backends."""
NEVER = re.compile(
    r"\.wasm$|\.map$|\.md$|\.flow$|\.min\.js$|tsbuildinfo$"
    r"|(^|/)(test|tests|__tests__|benchmark|docs|examples|\.github)/"
    r"|^dist/transformers"  # the part of @xenova/transformers that is for browsers
    r"|^lib/(_?tsc|_?tsserver|_?typingsInstaller|tsserverlibrary)\.js$|^lib/[a-z]{2}(-[a-z]+)?/diagnosticMessages"
    r"|/binding/|/deps/|(^|/)bin/napi-v3/(darwin|win32|linux/arm64)/"  # tfjs-node's C++, onnxruntime of other systems
)
MAIN_ONLY = re.compile(r"^@tensorflow/tfjs(-|$)(?!node)|^onnxruntime-(common|web)")
"""Only package.json, the main file and the types of these packages, which contain the same code in several bundles."""
REPLACED = "@tslab/typescript-for-tslab"
"""The kernel puts another TypeScript in its place (scripts/kernel/typescript.ts): its main file must be there."""

PROJECT = [
    "package.json",
    "lib/package.json",
    "lib/bin",
    "lib/dist",
    "notebooks",
    "tests/expected",
    "tests/oracles/exactness.py",
    "scripts/gpu",
    "scripts/bench",
    "data/preferences",
    ".alignbook/build/scripts",
]
"""Files of the project, compiled and not: those that check.ts and its steps read, and those that change with the
code."""

NEEDED_OF_SYSTEM = {
    "linux-vdso",
    "libdl",
    "libstdc++",
    "libm",
    "libgcc_s",
    "libpthread",
    "libc",
    "librt",
    "/lib64/ld-linux-x86-64",
    "ld-linux-x86-64",
}


def main_file(folder):
    package = json.loads((folder / "package.json").read_text())
    main = package.get("main", "index.js")
    return {"package.json", os.path.normpath(main), os.path.normpath(main + ".js")}


def closure(names):
    """The packages that these need, each once. From @img, only sharp's library for this platform."""
    found, pending = {}, list(names)
    while pending:
        name = pending.pop()
        folder = MODULES / name
        if name in found or name in LEFT_BEHIND or not folder.is_dir():
            continue
        found[name] = folder
        package = json.loads((folder / "package.json").read_text())
        pending += [*package.get("dependencies", {}), *package.get("optionalDependencies", {})]
    return dict(sorted(found.items()))


def files_below(folder):
    for directory, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            yield Path(directory, name)


def module_files():
    for name, folder in closure(PACKAGES).items():
        kept = main_file(folder) if MAIN_ONLY.match(name) or name == REPLACED else None
        for path in files_below(folder):
            inside = str(path.relative_to(folder))
            if NEVER.search(inside) or (kept is not None and inside not in kept and not inside.endswith(".d.ts")):
                continue
            if name == REPLACED and inside not in kept:
                continue
            yield path, path.relative_to(ROOT)


def files_of(names):
    for name in names:
        path = ROOT / name
        if not path.exists():
            raise KitError(f"{name} is missing: run npm run setup -- --cuda")
        for file in [path] if path.is_file() else files_below(path):
            inside = file.relative_to(ROOT)
            if not re.search(
                r"__pycache__|\.tsbuildinfo$|\.js\.map$|^scripts/.*\.ts$|^notebooks/figures/|/\.ipynb_checkpoints/",
                str(inside),
            ):
                yield file, inside


def node():
    """Node's binary, which must need nothing but the libraries that every system has."""
    path = Path(
        subprocess.run(["node", "-p", "process.execPath"], capture_output=True, text=True, check=True).stdout.strip()
    )
    listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    needed = {re.match(r"\s*(\S+?)\.so", line).group(1) for line in listed.splitlines() if ".so" in line}
    if needed - NEEDED_OF_SYSTEM:
        raise KitError(
            f"{path} needs {', '.join(sorted(needed - NEEDED_OF_SYSTEM))}, which the other machine may not have: "
            "run this with Node as nodejs.org has it"
        )
    for name in ("libstdc++.so.6", "libgcc_s.so.1"):  # for a machine whose own are older; unpack.py decides
        library = re.search(rf"{re.escape(name)} => (\S+)", listed)
        yield Path(os.path.realpath(library.group(1))), Path("node/lib", name)
    yield path, Path("node/bin/node")


def tensorflow():
    for name in ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2"):
        yield MADE / "tensorflow/tensorflow" / name, Path(".alignbook/tensorflow/tensorflow", name)


def empty_library(folder):
    """An empty shared object, to be opened under the names of libraries that GPT-2 does not use."""
    path = folder / "libempty.so"
    source = folder / "empty.c"
    source.write_text("")
    for compiler in ("cc", "gcc", "clang"):
        try:
            subprocess.run([compiler, "-shared", "-nostdlib", "-o", path, source], check=True, capture_output=True)
            return path
        except (OSError, subprocess.CalledProcessError):
            continue
    raise KitError("there is no C compiler on PATH to make an empty library: install gcc or clang")


def nvidia(package):
    folder = MADE / "tensorflow/nvidia" / package / "lib"
    if not folder.is_dir():
        raise KitError(f"{folder} is missing: run npm run setup -- --cuda")
    for path in files_below(folder):
        if re.match(r"lib(cudart|cublas|cublasLt)\.so\.\d+$", path.name):
            yield path, path.relative_to(ROOT)


def build():
    record = MODULES / "@tensorflow/tfjs-node-gpu/lib/napi-v8/build.json"
    if not record.is_file():
        raise KitError(f"{record} is missing: run npm run setup -- --cuda")
    return json.loads(record.read_text())
