"""TensorFlow's wheels as PyPI lists them: their names, sizes, hashes, and the libraries inside.

Writes tests/tensorflow-wheels.json, with which tests/setup.test.ts compares the choices of set-up. It needs
PyPI, so `npm run oracles` leaves it out; run it when TensorFlow's version changes:

    .alignbook/oracles/bin/python tests/oracles/tensorflow_wheels.py
"""

import io
import json
import urllib.request
import zipfile
from pathlib import Path

VERSION = "2.21.0"
FIXTURE = Path(__file__).parents[1] / "tensorflow-wheels.json"


class Remote(io.RawIOBase):
    """A file on a server that answers requests for ranges."""

    def __init__(self, url, size):
        self.url, self.size, self.at = url, size, 0

    def seekable(self):
        return True

    def readable(self):
        return True

    def tell(self):
        return self.at

    def seek(self, offset, whence=io.SEEK_SET):
        self.at = offset + (0, self.at, self.size)[whence]
        return self.at

    def read(self, count=-1):
        end = self.size if count < 0 else min(self.size, self.at + count)
        if end <= self.at:
            return b""
        request = urllib.request.Request(self.url, headers={"Range": f"bytes={self.at}-{end - 1}"})
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 206, f"{self.url} answers {answer.status} to a range"
            data = answer.read()
        self.at += len(data)
        return data


def listed(package):
    request = urllib.request.Request(
        f"https://pypi.org/simple/{package}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["files"]


def libraries(url, size):
    with zipfile.ZipFile(Remote(url, size)) as wheel:
        names = [name.removeprefix("tensorflow/") for name in wheel.namelist()]
    return sorted(name for name in names if name.startswith("libtensorflow_"))


wheels = {}
for package in ("tensorflow", "tensorflow-cpu"):
    for file in listed(package):
        name = file["filename"]
        if name.startswith(f"{package.replace('-', '_')}-{VERSION}-cp311-") and "win" not in name:
            wheels[name] = {
                "bytes": file["size"],
                "sha256": file["hashes"]["sha256"],
                "libraries": libraries(file["url"], file["size"]),
            }
FIXTURE.write_text(json.dumps(wheels, indent=1, sort_keys=True) + "\n")
print(f"{len(wheels)} wheels in {FIXTURE.relative_to(Path.cwd())}")
