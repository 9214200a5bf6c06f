"""Holds what lib/hub asks of a hub, and how, to what huggingface_hub asks, request by request.

    python tests/oracles/hub_requests.py

Both download the same files, with a token, from the hub of tests/hubServer.ts on this machine, and go on with a
download that broke off. Prints the table of docs/hub.md; makes no file; fails where a request, a header or a difference
is another than that page says.
"""

import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from hub_cache import DRIVER, FILES, NAME, ROOT, run

PAGE = ROOT / "docs" / "hub.md"
TOKEN = "hf_secret"
DOWNLOAD = (
    "import sys; from huggingface_hub import snapshot_download; "
    "snapshot_download(sys.argv[1], allow_patterns=sys.argv[2:], max_workers=1)"
)


def seen(endpoint):
    with urllib.request.urlopen(f"{endpoint}/seen") as answer:
        return json.load(answer)


def named(request):
    """One line for requests of a kind."""
    path = request["path"]
    if request["host"] == "storage":
        return f"{request['method']} of the storage host"
    if path.startswith("/api/models/"):
        return f"{request['method']} /api/models/NAME/{path.split('/')[5]}"
    if path.startswith("/api/resolve-cache/"):
        return f"{request['method']} where a small file was redirected to"
    return f"{request['method']} /NAME/resolve/COMMIT/FILE"


def summary(requests):
    """{kind of request: [how many, with the token, with accept-encoding identity, with a range]}."""
    kinds = {}
    for request in requests:
        counts = kinds.setdefault(named(request), [0, 0, 0, 0])
        counts[0] += 1
        counts[1] += request.get("token") == TOKEN
        counts[2] += (
            request["headers"].get("accept-encoding", "").split(", ")[0] == "identity"
        )  # Node adds another where there is a range
        counts[3] += "range" in request
    return kinds


def break_off(home):
    """As if the download of the weights had broken off after 1000 bytes, under each client's own name."""
    blobs = home / "hub" / f"models--{NAME.replace('/', '--')}" / "blobs"
    (weights,) = [path for path in blobs.iterdir() if len(path.name) == 64]
    (blobs / f"{weights.name}.incomplete").write_bytes(weights.read_bytes()[:1000])
    (blobs / f"{weights.name}.alignbook-00000000.incomplete").write_bytes(weights.read_bytes()[:1000])
    for link in (blobs.parent / "snapshots").rglob("model.safetensors"):
        link.unlink()
    weights.unlink()


def table(ours, theirs):
    rows = ["| request | alignbook | huggingface_hub |", "|---|---|---|"]
    words = ("", "with the token", "identity", "with a range")
    for kind in sorted(ours.keys() | theirs.keys()):
        cells = []
        for counts in (ours.get(kind), theirs.get(kind)):
            parts = [f"{count} {word}".strip() for count, word in zip(counts or [], words) if count or not word]
            cells.append(", ".join(parts) or "none")
        rows.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(rows)


def check(endpoint, ours, theirs):
    alignbook = ["node", ROOT / "lib" / "bin" / "alignbook.js", "download", NAME]
    python = [sys.executable, "-c", DOWNLOAD, NAME, *FILES]
    tables = []
    for what in ("A first download", "The weights broke off after 1,000 bytes"):
        if what != "A first download":
            break_off(ours)
            break_off(theirs)
        seen(endpoint)
        run(alignbook, ours, endpoint, HF_TOKEN=TOKEN)
        own = seen(endpoint)
        run(python, theirs, endpoint, HF_TOKEN=TOKEN, HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_TELEMETRY="1")
        other = seen(endpoint)
        assert not any("token" in request for request in own + other if request["host"] == "storage"), (
            "a token went to the storage host"
        )
        tables.append(f"**{what}**\n\n{table(summary(own), summary(other))}")
    return "\n\n".join(tables)


def main():
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(["node", DRIVER, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server,
    ):
        found = check(server.stdout.readline().strip(), Path(folder, "ours"), Path(folder, "theirs"))
        server.stdin.close()
    print(found)
    assert PAGE.is_file() and found in PAGE.read_text(), f"{PAGE.name} has another table"


if __name__ == "__main__":
    main()
