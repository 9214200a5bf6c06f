"""Sends requests to one kernel as JupyterLab does, interrupts some cells, and prints what a reader sees of each.

The argument is JSON, a list. Of a cell, {"code": …, "interrupt"?: pattern, and "silent", "stop_on_error" as in the
protocol}; a list in the list is of cells that are sent together. A cell with a pattern receives an interrupt once an
output of its own matches. (One: a second one may be delivered so late, on a busy machine, that it is the next cell's.)
Of any other request, {"request": its type, "content": …}; {"pause": seconds} sends nothing, and {"press": n} is the
stop button, n times, while no cell runs.

The reply, as JSON, has for each cell its status, its number, what it printed, its errors, its last value (with its
number), its displays as they are in the end, the types of all that was drawn until then, and the kinds of its messages
in order; for each other request the content of its reply. `late` is what came for a cell after its end.

    python tests/kernel.py REQUESTS [--env NAME=VALUE] [--kernels FOLDER]
"""

import argparse
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

SECONDS = 300  # of silence, on a machine that does other things, too


class Cell:
    def __init__(self, client, code, interrupt=None, **options):
        self.id = client.execute(code, **options)
        self.interrupt = interrupt
        self.streams = {"stdout": "", "stderr": ""}
        self.displays, self.drawn, self.errors, self.kinds, self.late = {}, [], [], [], []
        self.result = None
        self.ended = False

    def hear(self, message, manager):
        kind, content = message["msg_type"], message["content"]
        self.kinds.append(content.get("execution_state", kind))
        if self.ended:
            self.late.append([kind, content])
        if kind == "status" and content["execution_state"] == "idle":
            self.ended = True
        if kind == "stream":
            self.streams[content["name"]] += content["text"]
        if kind == "error":
            self.errors.append(content)
        if kind == "execute_result":
            self.result = [content["execution_count"], content["data"]]
        if kind in ("display_data", "update_display_data"):
            self.drawn.append(sorted(content["data"]))
            key = content["transient"].get("display_id", len(self.displays))
            if kind == "update_display_data" and key not in self.displays:
                raise RuntimeError("an update of nothing")
            self.displays[key] = content["data"]
        if self.interrupt is None:
            return
        seen = self.streams["stdout"] + "".join(data["text/plain"] for data in self.displays.values())
        if re.search(self.interrupt, seen):
            manager.interrupt_kernel()
            self.interrupt = None

    def seen(self, reply):
        shown = {
            "displays": list(self.displays.values()),
            "drawn": self.drawn,
            "errors": self.errors,
            "kinds": self.kinds,
            "late": self.late,
            "result": self.result,
        }
        return {"status": reply["status"], "count": reply.get("execution_count"), **self.streams, **shown}


def reply_to(client, request):
    while (message := client.get_shell_msg(timeout=SECONDS))["parent_header"].get("msg_id") != request:
        pass
    return message["content"]


def run(manager, client, requests):
    seen, cells = [], {}
    for group in requests:
        if "pause" in group:
            time.sleep(group["pause"])
            continue
        if "press" in group:
            for _ in range(group["press"]):
                manager.interrupt_kernel()
                time.sleep(0.02)
            continue
        if "request" in group:
            message = client.session.msg(group["request"], group["content"])
            client.shell_channel.send(message)
            seen.append(reply_to(client, message["header"]["msg_id"]))
            continue
        together = [Cell(client, **options) for options in (group if isinstance(group, list) else [group])]
        cells.update({cell.id: cell for cell in together})
        while not all(cell.ended for cell in together):
            message = client.get_iopub_msg(timeout=SECONDS)
            if cell := cells.get(message["parent_header"].get("msg_id")):
                cell.hear(message, manager)
        seen += [(cell, reply_to(client, cell.id)) for cell in together]
    return [one[0].seen(one[1]) if isinstance(one, tuple) else one for one in seen]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("requests", type=json.loads)
    parser.add_argument("--env", action="append", default=[])
    parser.add_argument("--kernels", default=str(Path(sys.prefix) / "share" / "jupyter" / "kernels"))
    options = parser.parse_args()
    specs = KernelSpecManager(kernel_dirs=[options.kernels])
    manager = KernelManager(kernel_name="tslab", kernel_spec_manager=specs)
    env = {**os.environ, **dict(setting.split("=", 1) for setting in options.env)}
    manager.start_kernel(cwd=str(ROOT / "notebooks"), stdout=sys.stderr, stderr=sys.stderr, env=env)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=SECONDS)
        print(json.dumps({"cells": run(manager, client, options.requests), "alive": manager.is_alive()}))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


if __name__ == "__main__":
    main()
