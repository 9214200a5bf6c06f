"""
npm run gpu:pack [-- OPTIONS]: makes the kit for a GPU machine that only files can reach (kit.py says how it works).

Needs the CUDA build: npm run setup -- --cuda. Prints each piece with its size, and the parts with the time that they took.

  --out FOLDER   where the pieces go (default: .alignbook/gpu)
  --limit MIB    of one transfer, in which the project's tracked files travel, too (default: 64)
  --cublas       carry CUDA 12's cuBLAS, for a machine whose own (CUDA 13's) does not serve: some twelve pieces more
  --level N      xz's level (default: 3; higher ones save a tenth, and take several times as long)
  --rehearse     pack whichever build is there, to try the kit without a GPU
  --help

Exit status: 0 done, 1 something is missing or does not fit, 2 usage.
"""
import argparse
import datetime
import json
import lzma
import os
import re
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kit import FORMAT, MANIFEST, MIB, KitError, digest

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "node_modules"
MADE = ROOT / ".alignbook"

BLOCK = 8 * MIB
"""Of a part's bytes, compressed as one stream: twice the window of level 3."""
LARGEST, SMALLEST = 36 * MIB, 4 * MIB
"""A piece is no larger, however much a transfer holds; and with less room than the smallest there would be hundreds of them."""
MARGIN = MIB
"""Of a transfer, for the names of its files."""

PACKAGES = ["@tensorflow/tfjs-node-gpu", "@huggingface/jinja", "@xenova/transformers", "hyparquet", "hyparquet-compressors", "sharp", "synckit", "tslab", "typescript5", "@types/node"]
"""The library's, and those with which the kernel compiles cells; plotly.js, which only pages need, stays behind."""
LEFT_BEHIND = {"zeromq", "rollup", "core-js", "@webgpu/types", "flatbuffers", "protobufjs", "onnx-proto"}
"""Packages that these name, and that nothing of ours loads: sockets of Jupyter, backends of browsers."""
NEVER = re.compile(r"\.wasm$|^dist/transformers|^lib/(tsserver|typingsInstaller|_tsc|_typingsInstaller|tsserverlibrary)\.js$|^lib/[a-z]{2}(-[a-z]+)?/diagnosticMessages|\.map$|\.md$|\.flow$|\.min\.js$|\.(c|m)?tsbuildinfo$|(^|/)(test|tests|__tests__|benchmark|docs|examples|\.github)/|/binding/|/deps/|(^|/)bin/napi-v3/(darwin|win32|linux/arm64)/")
MAIN_ONLY = re.compile(r"^@tensorflow/tfjs(-|$)(?!node)|^onnxruntime-(common|web)")
"""Of these: package.json, the main file, types. They carry several bundles of the same."""
REPLACED = "@tslab/typescript-for-tslab"
"""The kernel puts another TypeScript in its place (scripts/kernel/typescript.ts), for which the file has to be there."""

PROJECT = ["package.json", "lib/package.json", "lib/bin", "lib/dist", "notebooks", "tests/expected", "tests/oracles/exactness.py", "scripts/gpu", "scripts/bench", "data/preferences", ".alignbook/build/scripts"]
"""Of the project, compiled and not: what check.ts and its steps read, and what changes with the code."""

NEEDED_OF_SYSTEM = {"linux-vdso", "libdl", "libstdc++", "libm", "libgcc_s", "libpthread", "libc", "librt", "/lib64/ld-linux-x86-64", "ld-linux-x86-64"}


def main_file(folder):
    package = json.loads((folder / "package.json").read_text())
    main = package.get("main", "index.js")
    return {"package.json", os.path.normpath(main), os.path.normpath(main + ".js")}


def closure(names):
    """Packages that these need, each once. @img's hold sharp's library for this platform only."""
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
            if not re.search(r"__pycache__|\.tsbuildinfo$|\.js\.map$|^scripts/.*\.ts$|^notebooks/figures/|/\.ipynb_checkpoints/", str(inside)):
                yield file, inside


def node():
    """Node's binary, which must need nothing but what every system has."""
    path = Path(subprocess.run(["node", "-p", "process.execPath"], capture_output=True, text=True, check=True).stdout.strip())
    listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    needed = {re.match(r"\s*(\S+?)\.so", line).group(1) for line in listed.splitlines() if ".so" in line}
    if needed - NEEDED_OF_SYSTEM:
        raise KitError(f"{path} needs {', '.join(sorted(needed - NEEDED_OF_SYSTEM))}, which the other machine may not have: run this with Node as nodejs.org has it")
    for name in ("libstdc++.so.6", "libgcc_s.so.1"):  # for a machine whose own are older; unpack.py tells
        library = re.search(rf"{re.escape(name)} => (\S+)", listed)
        yield Path(os.path.realpath(library.group(1))), Path("node/lib", name)
    yield path, Path("node/bin/node")


def tensorflow():
    for name in ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2"):
        yield MADE / "tensorflow/tensorflow" / name, Path(".alignbook/tensorflow/tensorflow", name)


def empty_library(folder):
    """A shared object without anything in it, to be opened under the names of libraries that GPT-2 does not use."""
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


def tracked_bytes():
    """All that travels with every piece. Outside of a git repository: nothing but the pieces does."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, text=True)
    paths = [ROOT / name for name in listed.stdout.split("\0") if name] if listed.returncode == 0 else []
    return sum(path.lstat().st_size for path in paths if path.is_file() or path.is_symlink())


def piece_limit(limit, tracked):
    room = limit - tracked - MARGIN
    if room < SMALLEST:
        raise KitError(f"a transfer of {limit / MIB:.0f} MiB has no room for a piece: the project's own files take {tracked / MIB:.1f} MiB of it; raise --limit, or remove files that git does not ignore")
    return min(LARGEST, room)


def write_tar(path, files):
    """The same files give the same bytes: sorted, and without owners and dates."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for source, inside in sorted(files, key=lambda pair: str(pair[1])):
            entry = tar.gettarinfo(os.path.realpath(source), str(inside))
            entry.uid = entry.gid = entry.mtime = 0
            entry.uname = entry.gname = ""
            entry.mode = 0o755 if entry.mode & 0o100 else 0o644
            entry.type, entry.linkname = tarfile.REGTYPE, ""
            entry.size = os.path.getsize(os.path.realpath(source))
            with open(source, "rb") as file:
                tar.addfile(entry, file)


def compressed(path, level, say):
    """The xz streams of a file's blocks, in order, made on all cores."""
    size = os.path.getsize(path)
    with open(path, "rb") as file, ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting, done = [], 0
        while block := file.read(BLOCK):
            waiting.append((len(block), pool.submit(lzma.compress, block, preset=level)))
            while len(waiting) > 2 * os.cpu_count():
                length, future = waiting.pop(0)
                done += length
                yield length, future.result()
                say(f"{100 * done / size:.0f} %")
        for length, future in waiting:
            yield length, future.result()


def grouped(streams, limit):
    """[bytes before, streams]: as many to a piece as fit."""
    raw, held, size = 0, [], 0
    for length, stream in streams:
        if len(stream) > limit:
            raise KitError(f"a block of {len(stream) / MIB:.1f} MiB does not fit a piece of {limit / MIB:.1f} MiB: raise --limit")
        if size + len(stream) > limit:
            yield raw, b"".join(held)
            raw, held, size = 0, [], 0
        raw, size = raw + length, size + len(stream)
        held.append(stream)
    yield raw, b"".join(held)


def make_part(name, files, out, limit, level, earlier):
    """Writes a part's pieces; keeps those of an earlier kit where nothing changed."""
    start = time.monotonic()
    tar = out / f"{name}.tar"
    write_tar(tar, files)
    part = {"name": name, "bytes": tar.stat().st_size, "sha256": digest(tar), "level": level, "limit": limit}
    same = earlier.get(name, {})
    if all(same.get(key) == part[key] for key in part) and all((out / piece["name"]).is_file() and digest(out / piece["name"]) == piece["sha256"] for piece in same["pieces"]):
        tar.unlink()
        print(f"{name:12} as before, {len(same['pieces'])} pieces", flush=True)
        return same
    part["pieces"] = []
    terminal = sys.stdout.isatty()
    say = lambda text: terminal and print(f"\r{name:12} {text}", end="\r", flush=True)
    for number, (raw, content) in enumerate(grouped(compressed(tar, level, say), limit), 1):
        temporary = out / f"{name}.tmp"
        temporary.write_bytes(content)
        sha256 = digest(temporary)
        piece = {"name": f"{name}-{number:02}-{sha256[:12]}.xz", "bytes": len(content), "raw": raw, "sha256": sha256}
        temporary.rename(out / piece["name"])
        part["pieces"].append(piece)
    tar.unlink()
    size = sum(piece["bytes"] for piece in part["pieces"])
    print(f"{name:12} {part['bytes'] / 1e6:7.1f} MB, packed {size / 1e6:6.1f} MB in {len(part['pieces'])} pieces, {time.monotonic() - start:.0f} s", flush=True)
    return part


def build():
    record = MODULES / "@tensorflow/tfjs-node-gpu/lib/napi-v8/build.json"
    if not record.is_file():
        raise KitError(f"{record} is missing: run npm run setup -- --cuda")
    return json.loads(record.read_text())


def pack(options):
    made = build()
    if made["build"] != "cuda" and not options.rehearse:
        raise KitError("this project's TensorFlow is the CPU build: run npm run setup -- --cuda (with --rehearse it is packed as it is)")
    tracked = tracked_bytes()
    limit = piece_limit(int(options.limit * MIB), tracked)
    print(f"a transfer of {options.limit:g} MiB, less {tracked / 1e6:.1f} MB of the project's files: pieces of at most {limit / 1e6:.1f} MB", flush=True)
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    earlier = {}
    if (out / MANIFEST).is_file():
        earlier = {part["name"]: part for part in json.loads((out / MANIFEST).read_text())["parts"]}
    libraries = [*node(), *module_files(), *files_of(["data/models/tiny"]), *tensorflow()]
    if made["build"] == "cuda":
        libraries += [*nvidia("cuda_runtime"), (empty_library(out), Path(".alignbook/tensorflow/nvidia/libempty.so"))]
    contents = {"libraries": libraries, "project": [*files_of(PROJECT)]}
    if options.cublas:
        contents["cublas"] = [*nvidia("cublas")]
    parts = [make_part(name, files, out, limit, options.level, earlier) for name, files in contents.items()]
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    manifest = {"format": FORMAT, "made": datetime.date.today().isoformat(), "commit": commit, **made, "parts": parts}
    (out / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    kept = {MANIFEST} | {piece["name"] for part in parts for piece in part["pieces"]}
    for path in out.iterdir():
        if path.name not in kept and path.is_file():
            path.unlink()
    pieces = [piece for part in parts for piece in part["pieces"]]
    print()
    for piece in pieces:
        print(f"  {piece['name']:36} {piece['bytes'] / 1e6:6.1f} MB")
    print(f"  {len(pieces)} pieces, {sum(piece['bytes'] for piece in pieces) / 1e6:.1f} MB, in {out}; {MANIFEST} ({(out / MANIFEST).stat().st_size / 1e3:.1f} kB) travels with each")


def main():
    parser = argparse.ArgumentParser(usage=__doc__, add_help=False)
    parser.add_argument("--out", type=Path, default=MADE / "gpu")
    parser.add_argument("--limit", type=float, default=64)
    parser.add_argument("--level", type=int, choices=range(10), default=3)
    parser.add_argument("--cublas", action="store_true")
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--help", "-h", action="store_true")
    options = parser.parse_args()
    if options.help:
        print(__doc__.strip())
        return 0
    try:
        pack(options)
        return 0
    except KitError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
