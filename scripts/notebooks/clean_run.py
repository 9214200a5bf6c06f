"""One notebook on its own kernel: how it is read and executed, and which runs are refused.

Nothing here relies on what plain tslab does not do: there a throwing cell shows in its reply's status alone, and a
rejected promise or a throwing timer on stderr alone.
"""

import asyncio
import json
import os
import re
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for name in ("DATA", "CONFIG", "RUNTIME"):  # nothing of the user's own Jupyter is read or written
    os.environ.setdefault(f"JUPYTER_{name}_DIR", str(ROOT / ".alignbook" / "jupyter" / name.lower()))

# As it is loaded, jsonschema's check of IRIs, which no notebook needs, builds a parser; that takes two seconds. None
# stands for a package that is not installed, and jsonschema does without.
sys.modules["rfc3987_syntax"] = None

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

KERNEL = "tslab"
STARTUP_SECONDS = 60
SETTLE_SECONDS = 5

# Records that TensorFlow may write: those of level I, abseil's line before the first of them, and the one that says
# that the CUDA build found no GPU, which the doctor reports and which does not affect the notebooks.
INFORMATION = re.compile(
    r"^(WARNING: All log messages before absl::InitializeLog\(\) .*|I\d{4} .*|\d{4}-\d\d-\d\d .*: I .*|E\d{4} .* "
    r"failed call to cuInit: .*)\n",
    re.MULTILINE,
)

COLOUR = re.compile(r"\x1b\[\d*m")

# Runs after the last cell: waits until no timer or file operation of the notebook is left, and for at least one turn of
# the event loop, in which late rejections are reported. Whatever is still running at the end is an error. The list does
# not include the sockets and watchers of tslab itself.
SETTLE = (
    f"const settleSeconds = {SETTLE_SECONDS};"
    + """
{
  const work = /^(Timeout|Immediate|FSReq|GetAddrInfo|Worker|Process)/;
  const pending = () => process.getActiveResourcesInfo().filter((kind) => work.test(kind));
  const { setTimeout: wait } = await import('node:timers/promises');
  const end = Date.now() + 1000 * settleSeconds;
  do await wait(20, undefined, { ref: false }); while (pending().length > 0 && Date.now() < end);
  if (pending().length > 0) throw new Error('still running after the last cell: ' + pending().join(', '));
}
"""
)


class Refused(Exception):
    """The run is not clean; `cell` is the id of the cell, or None if the fault is outside the cells."""

    def __init__(self, cell, reason, detail=""):
        super().__init__(reason)
        self.cell, self.reason, self.detail = cell, reason, detail.strip()


def read(path):
    """A notebook in the current format: an older one, or one without ids, is upgraded as JupyterLab does it."""
    try:
        text = path.read_bytes().decode()
        if text.startswith("\ufeff"):
            raise ValueError("it begins with a byte order mark; save it as UTF-8 without one")
        if not text.strip():
            raise ValueError("it is empty")
        content = json.loads(text)
        if not isinstance(content, dict) or not isinstance(
            content.get("worksheets" if content.get("nbformat") == 3 else "cells"), list
        ):
            raise ValueError("it is JSON, but has no list of cells")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about ids that were generated
            notebook = nbformat.reads(text, as_version=4)
            if notebook.nbformat_minor < 5:
                notebook = nbformat.v4.upgrade(notebook, 4, notebook.nbformat_minor)
        nbformat.validate(notebook)
    except json.JSONDecodeError as error:
        raise Refused(None, "the file is not a sound notebook", f"it is not JSON: {error}") from None
    except (AttributeError, KeyError, TypeError):  # errors that nbformat's readers raise
        raise Refused(
            None,
            "the file is not a sound notebook",
            "a cell, or a part of one, is not what the format of notebooks says",
        ) from None
    except Exception as error:
        raise Refused(
            None, "the file is not a sound notebook", str(error).splitlines()[0] if str(error) else type(error).__name__
        ) from None
    kernel = notebook.metadata.get("kernelspec", {}).get("name", KERNEL)
    if kernel != KERNEL:
        raise Refused(None, f'the notebook is for the kernel "{kernel}", and not for TypeScript ("{KERNEL}")')
    return notebook


class Run:
    """One notebook on its own kernel."""

    def __init__(self, path, timeout):
        self.path = path
        self.timeout = timeout
        self.notebook = None  # None if it could not be read
        self.code = []
        self.cells = {}
        self.after = {"id": None, "status": "not run", "seconds": 0.0, "stderr": "", "error": ""}
        self.current = self.after
        self.requests = {}  # the record that each execute request belongs to, by message id
        self.refused = None
        self.seconds = 0.0

    async def execute(self):
        start = time.monotonic()
        try:
            self._prepare()
            with tempfile.TemporaryFile() as native:
                await self._on_kernel(native)
                native.seek(0)
                if noise := INFORMATION.sub("", native.read().decode(errors="replace")):
                    raise Refused(None, "native code wrote past the notebook, to the terminal", noise)
        except Refused as refused:
            self.refused = refused
        except Exception:  # an error of the runner; the other notebooks still run
            self.refused = Refused(None, "the runner failed", traceback.format_exc())
        self.seconds = time.monotonic() - start

    def _prepare(self):
        self.notebook = read(self.path)
        self.code = [cell for cell in self.notebook.cells if cell.cell_type == "code"]
        for cell in self.code:
            cell.outputs, cell.execution_count = [], None
            self.cells[cell.id] = {"id": cell.id, "status": "not run", "seconds": 0.0, "stderr": "", "error": ""}

    async def _on_kernel(self, native):
        specs = KernelSpecManager(kernel_dirs=[str(Path(sys.prefix) / "share" / "jupyter" / "kernels")])
        kernel = AsyncKernelManager(kernel_name=KERNEL, kernel_spec_manager=specs)
        client = NotebookClient(
            self.notebook,
            km=kernel,
            timeout=self.timeout,
            startup_timeout=STARTUP_SECONDS,
            coalesce_streams=True,
            force_raise_errors=True,  # a tag must not excuse a throwing cell
            on_cell_executed=self._note_reply,
        )
        client.log.disabled = True  # errors are reported below, once
        channels = None
        try:
            try:
                await client.async_start_new_kernel(cwd=str(self.path.parent), stdout=native, stderr=native)
                channels = await client.async_start_new_kernel_client()
            except NoSuchKernel:
                raise Refused(None, f'the kernel "{KERNEL}" is not installed; run "npm run setup"') from None
            except RuntimeError as error:
                native.seek(0)
                raise Refused(
                    None, "the kernel did not start", f"{error}\n{native.read().decode(errors='replace')}"
                ) from None
            self._listen(channels.iopub_channel)
            for index, cell in enumerate(self.notebook.cells):
                if cell.cell_type == "code":
                    await self._execute_cell(client, cell, index)
            await self._settle(client)
        finally:
            if channels:
                channels.stop_channels()
            if kernel.has_kernel:
                await kernel.shutdown_kernel(now=True)

    async def _execute_cell(self, client, cell, index):
        record = self.current = self.cells[cell.id]
        start = time.monotonic()
        try:
            await client.async_execute_cell(cell, index)
        except CellExecutionError:
            raise Refused(cell.id, "the cell threw or did not compile", record["error"] or record["stderr"]) from None
        except CellTimeoutError:
            record["status"] = "time-out"
            raise Refused(cell.id, f"the cell did not end within {self.timeout} s", record["stderr"]) from None
        except DeadKernelError:
            if await client.km.is_alive():  # nbclient mistakes our own interruption for a dead kernel
                raise asyncio.CancelledError from None
            record["status"] = "kernel died"
            raise Refused(cell.id, "the kernel died", record["stderr"]) from None
        finally:
            cell.execution_count = None
            record["seconds"] = round(time.monotonic() - start, 3)
        if record["status"] != "ok":
            why = "it is empty: remove it" if not cell.source.strip() else ""
            if "skip-execution" in cell.metadata.get("tags", []):
                why = 'its tag "skip-execution" keeps it from running: take the tag or the cell away'
            raise Refused(
                cell.id, f'the cell did not run to its end (status "{record["status"]}")', record["stderr"] or why
            )

    async def _settle(self, client):
        cell = nbformat.v4.new_code_cell(SETTLE)
        self.current = self.after
        client.timeout = STARTUP_SECONDS  # it ends by itself after SETTLE_SECONDS; on a busy machine it may start late
        self.notebook.cells.append(cell)
        try:
            await client.async_execute_cell(cell, len(self.notebook.cells) - 1)
        except CellExecutionError:
            said = self.after["error"] or self.after["stderr"]
            left = re.search(r"still running after the last cell: .*", said)  # the rest shows the runner's own lines
            raise Refused(None, "after the last cell", left.group() if left else said) from None
        except (CellTimeoutError, DeadKernelError) as error:
            raise Refused(None, "after the last cell", f"{type(error).__name__}\n{self.after['stderr']}") from None
        finally:
            self.notebook.cells.pop()
        for record in self.cells.values():
            if record["stderr"] or record["error"]:
                raise Refused(record["id"], "the cell wrote to stderr", record["stderr"] + record["error"])
        if self.after["stderr"] or cell.outputs:
            late = self.after["stderr"] or "".join(output.get("text", "") for output in cell.outputs)
            raise Refused(None, "something was printed after the last cell had ended", late)

    def _note_reply(self, cell, cell_index, execute_reply):
        self.current["status"] = execute_reply["content"]["status"]

    def _listen(self, channel):
        """nbclient drops messages that arrive between two cells; this receives all of stderr, and every error."""
        receive = channel.get_msg

        async def get_msg(*args, **kwargs):
            message = await receive(*args, **kwargs)
            record = self.requests.setdefault(message["parent_header"].get("msg_id"), self.current)
            if message["msg_type"] == "stream" and message["content"]["name"] == "stderr":
                record["stderr"] += message["content"]["text"]
            if message["msg_type"] == "error":
                record["error"] += COLOUR.sub("", "\n".join(message["content"]["traceback"])) + "\n"
            return message

        channel.get_msg = get_msg

    def executed_copy(self):
        return nbformat.writes(self.notebook) + "\n"

    def report(self):
        refused = self.refused and {
            "cell": self.refused.cell,
            "reason": self.refused.reason,
            "detail": self.refused.detail,
        }
        return {
            "notebook": self.path.name,
            "seconds": round(self.seconds, 2),
            "cells": list(self.cells.values()),
            "refused": refused,
        }

    def line(self):
        head = f"{self.path.name}  {len(self.code)} code cell{'' if len(self.code) == 1 else 's'}  {self.seconds:.1f} s"
        if not self.refused:
            return f"{head}  clean"
        where = f"cell {self.refused.cell}: " if self.refused.cell else ""
        detail = "".join(f"\n    {line}" for line in self.refused.detail.splitlines())
        return f"{head}  REFUSED: {where}{self.refused.reason}{detail}"
