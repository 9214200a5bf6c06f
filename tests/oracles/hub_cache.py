"""Holds the cache of lib/hub to huggingface_hub's: each reads what the other has downloaded, without asking for it
again.

    python tests/oracles/hub_cache.py

Both download from the hub of tests/hubServer.ts, on this machine. Makes no file; fails where the two differ.
"""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DRIVER = ROOT / ".alignbook" / "build" / "tests" / "oracles" / "hubDriver.js"
NAME = "test/gpt2"
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")

# Run in a process of its own, as huggingface_hub reads its variables when it is imported.
READ_CACHE = """
import json, sys
import torch
from huggingface_hub import scan_cache_dir, snapshot_download, try_to_load_from_cache
from transformers import AutoTokenizer, GPT2LMHeadModel
name, *files = sys.argv[1:]
folder = snapshot_download(name, local_files_only=True)
for file in files:
    path = try_to_load_from_cache(name, file)
    assert isinstance(path, str) and path.startswith(folder), (file, path)
report = scan_cache_dir()
assert not report.warnings, report.warnings
(repo,) = report.repos
assert repo.repo_id == name and [sorted(revision.refs) for revision in repo.revisions] == [["main"]], repo
model = GPT2LMHeadModel.from_pretrained(name)
ids = AutoTokenizer.from_pretrained(name)("Hello, world!<|endoftext|>")["input_ids"]
with torch.no_grad():
    logits = model(torch.tensor([[3, 1, 4, 1, 5]])).logits
print(json.dumps({"ids": ids, "logits": logits.flatten().tolist()}))
"""
DATA = "test/pairs"
# datasets itself opens files by its own file system, which needs a hub; huggingface_hub's cache is the same.
READ_ROWS = """
import glob, json, sys
from huggingface_hub import scan_cache_dir, snapshot_download
folder = snapshot_download(sys.argv[1], repo_type="dataset", local_files_only=True)
report = scan_cache_dir()
assert not report.warnings, report.warnings
(repo,) = report.repos
assert repo.repo_id == sys.argv[1] and repo.repo_type == "dataset", repo
print(json.dumps([json.loads(line) for file in sorted(glob.glob(f"{folder}/data/*")) for line in open(file)]))
"""
DOWNLOAD_ROWS = (
    "import sys; from huggingface_hub import snapshot_download; snapshot_download(sys.argv[1], repo_type='dataset')"
)
DOWNLOAD = "import sys; from huggingface_hub import snapshot_download; print(snapshot_download(sys.argv[1]))"


def run(command, home, endpoint, **env):
    """What a command prints, with a cache and a hub of its own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))}
    env = {**kept, "HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_PROGRESS_BARS": "1", **env}
    return subprocess.run(
        [str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True, env=env
    ).stdout.strip()


def requests(endpoint):
    """The requests that the hub has had since the last call."""
    with urllib.request.urlopen(f"{endpoint}/requests") as answer:
        return json.load(answer)


def same(ours, theirs):
    ours, theirs = json.loads(ours.splitlines()[-1]), json.loads(theirs.splitlines()[-1])
    assert ours["ids"] == theirs["ids"], (ours["ids"], theirs["ids"])
    assert len(ours["logits"]) == len(theirs["logits"]) == 5 * 31
    assert max(abs(a - b) for a, b in zip(ours["logits"], theirs["logits"])) < 2e-5


def layout(home):
    """{path: target of a link, or None} of the repository's folder; lists of files that Python keeps for itself left
    out."""
    folder = home / "hub" / f"models--{NAME.replace('/', '--')}"
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else None
        for path in folder.rglob("*")
        if not path.is_dir() and path.relative_to(folder).parts[0] in ("blobs", "refs", "snapshots")
    }


def check(endpoint, ours, theirs):
    read_cache = [sys.executable, "-c", READ_CACHE, NAME, *FILES]
    alignbook = ["node", ROOT / "lib" / "bin" / "alignbook.js", "download", NAME]

    folder = run(alignbook, ours, endpoint)
    assert sum("storage" in request for request in requests(endpoint)) == 1
    by_python = run(read_cache, ours, endpoint, HF_HUB_OFFLINE="1")
    same(run(["node", DRIVER, "load", NAME], ours, endpoint), by_python)
    assert requests(endpoint) == []

    python_folder = run([sys.executable, "-c", DOWNLOAD, NAME], theirs, endpoint)
    assert Path(python_folder).relative_to(theirs) == Path(folder).relative_to(ours)
    requests(endpoint)
    same(run(["node", DRIVER, "load", NAME], theirs, endpoint), by_python)
    assert requests(endpoint) == []

    mine, python = layout(ours), layout(theirs)
    assert mine.items() <= python.items(), (mine, python)
    assert {path for path in python.keys() - mine.keys() if path.startswith("snapshots")} == {
        f"snapshots/{Path(folder).name}/README.md"
    }

    # Asked whether there is anything newer, each finds the other's files whole; we want no README.
    run(alignbook, theirs, endpoint)
    assert requests(endpoint) == [f"GET /api/models/{NAME}/revision/main"]
    run([sys.executable, "-c", DOWNLOAD, NAME], ours, endpoint)
    downloaded = [
        request for request in requests(endpoint) if request.startswith(("GET storage", "GET /api/resolve-cache"))
    ]
    assert len(downloaded) == 1, downloaded
    assert layout(ours) == python


def check_rows(endpoint, ours, theirs):
    rows = [sys.executable, "-c", READ_ROWS, DATA]
    expected = run(["node", DRIVER, "rows", DATA], ours, endpoint)
    assert [row["chosen"] for row in json.loads(expected)] == ["1", "2", "3"]
    requests(endpoint)
    assert json.loads(run(rows, ours, endpoint, HF_HUB_OFFLINE="1")) == json.loads(expected)

    run([sys.executable, "-c", DOWNLOAD_ROWS, DATA], theirs, endpoint)
    requests(endpoint)
    assert run(["node", DRIVER, "rows", DATA], theirs, endpoint) == expected
    assert run(["node", DRIVER, "rows", DATA], theirs, endpoint, HF_HUB_OFFLINE="1") == expected
    assert requests(endpoint) == []


def main():
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(["node", DRIVER, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server,
    ):
        endpoint = server.stdout.readline().strip()
        check(endpoint, Path(folder, "ours"), Path(folder, "theirs"))
        check_rows(endpoint, Path(folder, "ours-rows"), Path(folder, "theirs-rows"))
        server.stdin.close()
    print("the hub's cache: Python reads ours, and we read Python's")


if __name__ == "__main__":
    main()
