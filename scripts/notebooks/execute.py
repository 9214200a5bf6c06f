"""Executes notebooks under the tslab kernel and refuses every run that is not clean.

It relies on nothing that plain tslab does not do: there a throwing cell shows in its reply's status alone, and a
rejected promise or a throwing timer on stderr alone. So a run is clean only where
- every code cell ran and its reply says `ok`, within the time allowed, on a kernel that stayed alive;
- nothing came on stderr: from a cell, between two cells, after the last one, or from native code;
- nothing was left running: timers and file work end, in silence, within seconds of the last cell.

For each notebook the output folder receives NAME.ipynb (the executed copy), NAME.json (the report) and with --html
NAME.html. A file that JupyterLab would not open is refused, too, and has a report alone. Exit status: 0 every run was
clean, 1 some were refused, 2 usage, 130 interrupted.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
from pathlib import Path

from clean_run import ROOT, Run


def write(path, text):
    """The file gets its name only once it is complete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


async def execute_and_write(path, out, timeout, html, turns, beside):
    for suffix in (".ipynb", ".html", ".json"):  # files of an earlier run must not pass for this one's
        (out / path.name).with_suffix(suffix).unlink(missing_ok=True)
    async with turns:
        run = Run(path, timeout)
        await run.execute()
    if run.notebook:
        write(out / path.name, run.executed_copy())
    if run.notebook and html:
        from page import page  # loads nbconvert

        write((out / path.name).with_suffix(".html"), page(run.notebook, path, out.resolve(), beside))
    write((out / path.name).with_suffix(".json"), json.dumps(run.report(), indent=1) + "\n")
    print(run.line(), flush=True)
    return run


async def execute_all(paths, out, jobs, timeout, html):
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()

    def stop():
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a second Ctrl-C must not interrupt the clean-up
            loop.add_signal_handler(name, lambda: None)
        task.cancel()

    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(name, stop)

    turns = asyncio.Semaphore(jobs)
    beside = {path.name for path in paths}
    return await asyncio.gather(*(execute_and_write(path, out, timeout, html, turns, beside) for path in paths))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "executed", help="folder for the results (default: executed/)"
    )
    parser.add_argument("--jobs", type=int, default=1, help="notebooks at a time (default: 1)")
    parser.add_argument("--timeout", type=int, default=120, help="seconds that one cell may take (default: 120)")
    parser.add_argument("--html", action="store_true", help="also write an HTML page")
    options = parser.parse_args()
    paths = [Path(os.path.abspath(path)) for path in options.notebooks]  # a link keeps its name and its folder
    if missing := [path for path in paths if not path.is_file()]:
        parser.error(f"no such notebook: {missing[0]}")
    if doubled := [path for path in paths if [other.name for other in paths].count(path.name) > 1]:
        parser.error(f"two notebooks are called {doubled[0].name}: their results would have one name")
    if own := [path for path in paths if (options.out / path.name).resolve() == path.resolve()]:
        parser.error(
            f"{options.out} is the folder of {own[0].name} itself, whose executed copy would replace it: give "
            f"another folder"
        )
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out {options.out} cannot be made: {error.strerror}")
    if options.jobs > 1:  # kernels that each use all cores slow each other down
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max(1, len(os.sched_getaffinity(0)) // options.jobs)))
    for folder in {path.parent for path in paths}:
        if (
            folder / "figures"
        ).is_dir() and folder.resolve() != options.out.resolve():  # for the pictures in the copies' Markdown
            shutil.copytree(folder / "figures", options.out / "figures", dirs_exist_ok=True)
    try:
        runs = asyncio.run(execute_all(paths, options.out, options.jobs, options.timeout, options.html))
    except asyncio.CancelledError:
        print("interrupted; its kernels are stopped", file=sys.stderr)
        return 130
    return 1 if any(run.refused for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
