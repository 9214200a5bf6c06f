"""Runs cells in one tslab kernel as JupyterLab does, interrupts some of them, and prints what a reader sees of each.

The argument is JSON: [{"code": …, "interrupt"?: pattern}, …]. A cell with a pattern receives an interrupt once an output of its
own matches. (One: a second one may be delivered so late, on a busy machine, that it is the next cell's.) The reply, as JSON, has
for each cell its status, what it printed, its displays as they are in the end, and how often they changed.
"""

import json
import os
import re
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
for name in ("DATA", "CONFIG", "RUNTIME"):
    os.environ.setdefault(f"JUPYTER_{name}_DIR", str(ROOT / ".alignbook" / "jupyter" / name.lower()))

from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager

SECONDS = 60


def run(manager, client, code, interrupt=None):
    request = client.execute(code)
    streams, displays, updates = {"stdout": "", "stderr": ""}, {}, 0
    while True:
        message = client.get_iopub_msg(timeout=SECONDS)
        kind, content = message["msg_type"], message["content"]
        if message["parent_header"].get("msg_id") != request:
            continue
        if kind == "status" and content["execution_state"] == "idle":
            break
        if kind == "stream":
            streams[content["name"]] += content["text"]
        if kind in ("display_data", "update_display_data"):
            updates += kind == "update_display_data"
            key = content["transient"].get("display_id", len(displays))
            if kind == "update_display_data" and key not in displays:
                raise RuntimeError("an update of nothing")
            displays[key] = content["data"]
        seen = streams["stdout"] + "".join(data["text/plain"] for data in displays.values())
        if interrupt and re.search(interrupt, seen):
            manager.interrupt_kernel()
            interrupt = None
    while (reply := client.get_shell_msg(timeout=SECONDS))["parent_header"].get("msg_id") != request:
        pass
    if reply["content"]["status"] == "error":
        time.sleep(0.5)  # tslab passes over the cells that arrive within 0.2 s
    return {"status": reply["content"]["status"], **streams, "displays": list(displays.values()), "updates": updates}


def main():
    specs = KernelSpecManager(kernel_dirs=[str(Path(sys.prefix) / "share" / "jupyter" / "kernels")])
    manager = KernelManager(kernel_name="tslab", kernel_spec_manager=specs)
    manager.start_kernel(cwd=str(ROOT / "notebooks"), stderr=sys.stderr)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=SECONDS)
        cells = [run(manager, client, **cell) for cell in json.loads(sys.argv[1])]
        print(json.dumps({"cells": cells, "alive": manager.is_alive()}))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


if __name__ == "__main__":
    main()
