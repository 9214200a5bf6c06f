"""Runs a notebook on a kernel that is started as VS Code's Jupyter extension starts one.

The extension reads kernel.json itself, writes a connection file into Jupyter's run-time folder, and starts `argv` in
the notebook's folder, with the editor's environment and the `env` of kernel.json; so there is no JPY_PARENT_PID. It
waits until the kernel listens, sends cells one after another, and in the end kills the process (vscode-jupyter,
src/kernels/raw/launcher/kernelProcess.node.ts). The executed notebook is printed as JSON.

    python tests/vscode.py KERNEL_JSON NOTEBOOK
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from jupyter_client import BlockingKernelClient
from jupyter_client.connect import write_connection_file
from nbformat.v4 import output_from_msg

SECONDS = 300  # of silence, on a machine that does other things, too


def start(spec, folder, connection):
    argv = [part.replace("{connection_file}", connection) for part in spec["argv"]]
    env = {name: value for name, value in os.environ.items() if not name.startswith("JPY_")}
    return subprocess.Popen(argv, cwd=folder, env={**env, **spec.get("env", {})}, stdout=sys.stderr)


def listens(port, kernel):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and kernel.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.2)
    raise RuntimeError(f"nobody listens on port {port}")


def execute(client, notebook):
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.outputs = []

        def hear(message, outputs=cell.outputs):
            if message["msg_type"] in ("stream", "display_data", "execute_result", "error"):
                outputs.append(output_from_msg(message))

        reply = client.execute_interactive(cell.source, timeout=SECONDS, output_hook=hear, allow_stdin=False)
        if reply["content"]["status"] != "ok":
            raise RuntimeError(f"{cell.id}: {reply['content']}")


def main():
    spec = json.loads(Path(sys.argv[1]).read_text())
    path = Path(sys.argv[2]).resolve()
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        file, ports = write_connection_file(str(Path(folder, "kernel-v2-1.json")), key=secrets.token_hex(16).encode())
        kernel = start(spec, path.parent, file)
        client = BlockingKernelClient(connection_file=file)
        client.load_connection_file()
        try:
            for name in ("shell_port", "iopub_port"):
                listens(ports[name], kernel)
            client.start_channels()
            client.wait_for_ready(timeout=SECONDS)
            execute(client, notebook)
        finally:
            client.stop_channels()
            kernel.terminate()
            kernel.wait(timeout=10)
    print(nbformat.writes(notebook))


if __name__ == "__main__":
    main()
