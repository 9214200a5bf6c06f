"""
npm run gpu:pack [-- OPTIONS]: makes the kit for a GPU machine that only files can reach (kit.py says how it works).

Needs the CUDA build: npm run setup -- --cuda. Prints each piece with its size, and the parts with the time that they
took.

  --out FOLDER   where the pieces go (default: .alignbook/gpu)
  --limit MIB    of one transfer, in which the project's tracked files travel, too (default: 64)
  --cublas       carry CUDA 12's cuBLAS, for a machine whose own (CUDA 13's) does not serve: fifteen pieces more
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
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from contents import MADE, PROJECT, ROOT, build, empty_library, files_of, module_files, node, nvidia, tensorflow
from kit import FORMAT, MANIFEST, MIB, KitError, digest, pieces_of

BLOCK = 4 * MIB
"""Bytes of a part that are compressed as one stream: the window of level 3. Smaller blocks fill the pieces better."""
LARGEST, SMALLEST = 36 * MIB, 4 * MIB
"""Limits of a piece, however large a transfer is: with less room than the smallest, there would be hundreds."""
MARGIN = MIB
"""Bytes of a transfer that are reserved for the names of its files."""


def tracked_bytes():
    """The bytes that travel with every piece. Outside a git repository, nothing but the pieces travels."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
    )
    paths = [ROOT / name for name in listed.stdout.split("\0") if name] if listed.returncode == 0 else []
    return sum(path.lstat().st_size for path in paths if path.is_file() or path.is_symlink())


def piece_limit(limit, tracked):
    room = limit - tracked - MARGIN
    if room < SMALLEST:
        raise KitError(
            f"a transfer of {limit / MIB:.0f} MiB has no room for a piece: the project's own files take "
            f"{tracked / MIB:.1f} MiB of it; raise --limit, or remove files that git does not ignore"
        )
    return min(LARGEST, room)


def write_tar(path, files):
    """The same files give the same bytes: they are sorted, and have no owners or dates."""
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
    """The xz streams of a file's blocks, in order, compressed on all cores."""
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
    """[bytes before, streams]: as many streams per piece as fit."""
    raw, held, size = 0, [], 0
    for length, stream in streams:
        if len(stream) > limit:
            raise KitError(
                f"a block of {len(stream) / MIB:.1f} MiB does not fit a piece of {limit / MIB:.1f} MiB: raise --limit"
            )
        if size + len(stream) > limit:
            yield raw, b"".join(held)
            raw, held, size = 0, [], 0
        raw, size = raw + length, size + len(stream)
        held.append(stream)
    yield raw, b"".join(held)


def progress(name):
    """One changing line on a terminal; elsewhere an occasional line."""
    terminal, said = sys.stdout.isatty(), time.monotonic()

    def say(text):
        nonlocal said
        if time.monotonic() - said < (0.1 if terminal else 15):
            return
        said = time.monotonic()
        print(f"\r{name:12} {text}" if terminal else f"{name:12} {text}", end="\r" if terminal else "\n", flush=True)

    return say


def joined(pieces, limit):
    """Small pieces travel together: each goes into the first transfer that has room for it."""
    transfers = []
    for piece in sorted(pieces, key=lambda piece: -piece["bytes"]):
        room = (one for one in transfers if sum(other["bytes"] for other in one) + piece["bytes"] <= limit)
        transfer = next(room, None)
        if transfer is None:
            transfers.append([piece])
        else:
            transfer.append(piece)
    return sorted(transfers, key=lambda transfer: transfer[0]["name"])


def make_part(name, files, out, limit, level, earlier):
    """Writes a part's pieces; keeps the unchanged pieces of an earlier kit."""
    start = time.monotonic()
    tar = out / f"{name}.tar"
    write_tar(tar, files)
    part = {"name": name, "bytes": tar.stat().st_size, "sha256": digest(tar), "level": level, "limit": limit}
    same = earlier.get(name, {})
    if all(same.get(key) == part[key] for key in part) and all(
        (out / piece["name"]).is_file() and digest(out / piece["name"]) == piece["sha256"] for piece in same["pieces"]
    ):
        tar.unlink()
        print(f"{name:12} as before, {len(same['pieces'])} pieces", flush=True)
        return same
    part["pieces"] = []
    say = progress(name)
    for number, (raw, content) in enumerate(grouped(compressed(tar, level, say), limit), 1):
        temporary = out / f"{name}.tmp"
        temporary.write_bytes(content)
        sha256 = digest(temporary)
        piece = {"name": f"{name}-{number:02}-{sha256[:12]}.xz", "bytes": len(content), "raw": raw, "sha256": sha256}
        temporary.rename(out / piece["name"])
        part["pieces"].append(piece)
    tar.unlink()
    size = sum(piece["bytes"] for piece in part["pieces"])
    print(
        f"{name:12} {part['bytes'] / 1e6:7.1f} MB, packed {size / 1e6:6.1f} MB in {len(part['pieces'])} pieces, "
        f"{time.monotonic() - start:.0f} s",
        flush=True,
    )
    return part


def pack(options):
    made = build()
    if made["build"] != "cuda" and not options.rehearse:
        raise KitError(
            "this project's TensorFlow is the CPU build: run npm run setup -- --cuda "
            "(with --rehearse it is packed as it is)"
        )
    tracked = tracked_bytes()
    limit = piece_limit(int(options.limit * MIB), tracked)
    print(
        f"a transfer of {options.limit:g} MiB, less {tracked / 1e6:.1f} MB of the project's files: "
        f"pieces of at most {limit / 1e6:.1f} MB",
        flush=True,
    )
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
    commit = subprocess.run(
        ["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True
    ).stdout.strip()
    manifest = {"format": FORMAT, "made": datetime.date.today().isoformat(), "commit": commit, **made, "parts": parts}
    (out / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    kept = {MANIFEST} | {piece["name"] for part in parts for piece in part["pieces"]}
    for path in out.iterdir():
        if path.name not in kept and path.is_file():
            path.unlink()
    pieces = pieces_of(manifest)
    transfers = joined(pieces, limit)
    print()
    for number, transfer in enumerate(transfers, 1):
        names = ", ".join(f"{piece['name']} ({piece['bytes'] / 1e6:.1f} MB)" for piece in transfer)
        print(f"  transfer {number:2}: {names}")
    total, size = sum(piece["bytes"] for piece in pieces), (out / MANIFEST).stat().st_size
    print(f"  {len(pieces)} pieces, {total / 1e6:.1f} MB, in {out}; {MANIFEST} ({size / 1e3:.1f} kB) travels with each")


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
