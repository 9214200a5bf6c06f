"""Notebooks as nbclient's own tests have them, in TypeScript, executed by nbclient on the kernel named in KERNEL.

Prints as JSON, for each, "ok" or what is wrong.
"""

import json
import os
import sys

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

KERNEL = os.environ["KERNEL"]


def executed(cells, **options):
    """The cells' outputs, and what nbclient raised."""
    notebook = new_notebook(cells=[cell if not isinstance(cell, str) else new_code_cell(cell) for cell in cells])
    raised = None
    try:
        NotebookClient(notebook, kernel_name=KERNEL, **{"timeout": 60, "coalesce_streams": True, **options}).execute()
    except (CellExecutionError, CellTimeoutError) as error:
        raised = error
    nbformat.validate(notebook)
    return notebook.cells, raised


def printed(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout")


def errors(cell):
    return [(output.ename, output.evalue) for output in cell.outputs if output.output_type == "error"]


def tagged(code, tag):
    return new_code_cell(code, metadata={"tags": [tag]})


def hello_world():
    cells, raised = executed(["console.log('Hello World');"])
    assert raised is None and printed(cells[0]) == "Hello World\n"
    assert cells[0].execution_count == 1, f"execution_count is {cells[0].execution_count}"


def factorials():
    cells, raised = executed(
        ["let [i, j] = [1, 1];", "for (let m = 0; m < 10; m += 1) {\n  [i, j] = [j, i + j];\n  console.log(j);\n}"]
    )
    assert raised is None and printed(cells[1]).split() == ["2", "3", "5", "8", "13", "21", "34", "55", "89", "144"]


def empty_cell():
    cells, raised = executed(["console.log('Code 1');", "", "console.log('Code 2');"])
    assert raised is None and [printed(cell) for cell in cells] == ["Code 1\n", "", "Code 2\n"]


def markdown_between():
    cells, raised = executed(["const a = 1;", new_markdown_cell("# *nothing* to run"), "console.log(a);"])
    assert raised is None and printed(cells[2]) == "1\n"


def unicode():
    cells, raised = executed(["console.log('☃ 😀');"])
    assert raised is None and printed(cells[0]) == "☃ 😀\n"


def error():
    cells, raised = executed(["throw new RangeError('too far');", "console.log('never');"])
    assert isinstance(raised, CellExecutionError) and printed(cells[1]) == ""
    assert errors(cells[0]) == [("RangeError", "too far")], f"errors are {errors(cells[0])}"
    assert raised.ename == "RangeError" and "too far" in raised.traceback


def allowed_errors():
    cells, raised = executed(["throw new Error('message');", "console.log('ok');"], allow_errors=True)
    assert raised is None and errors(cells[0]) == [("Error", "message")]
    assert printed(cells[1]) == "ok\n", "the next cell was not run"


def allowed_by_name():
    cells, raised = executed(["throw new RangeError('one');", "console.log('ok');"], allow_error_names=["RangeError"])
    assert raised is None and errors(cells[0]) == [("RangeError", "one")]


def raises_exception():
    cells, raised = executed([tagged("throw new Error('message');", "raises-exception"), "console.log('ok');"])
    assert raised is None and printed(cells[1]) == "ok\n", "the next cell was not run"
    assert errors(cells[0]) == [("Error", "message")]


def raises_after_raises():
    cells, raised = executed([tagged("throw new Error('first');", "raises-exception"), "throw new Error('second');"])
    assert isinstance(raised, CellExecutionError) and raised.evalue == "second"


def skip_execution():
    cells, raised = executed([tagged("throw new Error('never');", "skip-execution"), "console.log('ok');"])
    assert raised is None and printed(cells[1]) == "ok\n"


def interrupt():
    cells, raised = executed(
        ["for (;;);", "console.log('ok');"], timeout=3, interrupt_on_timeout=True, allow_errors=True
    )
    assert raised is None and printed(cells[1]) == "ok\n", f"after the interrupt: {cells[1].outputs}, {raised}"


def timeout():
    _, raised = executed(["for (;;);"], timeout=2)
    assert isinstance(raised, CellTimeoutError), "no time-out"


def image():
    cells, raised = executed(
        ["import { display } from 'tslab';\ndisplay.svg('<svg xmlns=\"http://www.w3.org/2000/svg\"/>');"]
    )
    assert raised is None and "image/svg+xml" in cells[0].outputs[0].data


def update_display():
    code = "import { newDisplay } from 'tslab';\nconst shown = newDisplay();\nshown.text('first');"
    cells, raised = executed([code, "shown.text('second');"])
    assert raised is None and [[output.data["text/plain"] for output in cell.outputs] for cell in cells] == [
        ["second"],
        [],
    ]


def rejection():
    _, raised = executed(["void Promise.reject(new Error('nobody awaits this'));"])
    assert isinstance(raised, CellExecutionError), "the run passed"


def top_level_await():
    cells, raised = executed(
        [
            "const later = async () => 'later';",
            "console.log(await (later()));",
            "for await (const x of [1, 2]) console.log(x);",
        ]
    )
    assert raised is None and [printed(cell) for cell in cells] == ["", "later\n", "1\n2\n"], f"{raised}"


def parallel():
    import asyncio

    notebooks = [
        new_notebook(cells=[new_code_cell(f"await new Promise((done) => setTimeout(done, 500));\nconsole.log({n});")])
        for n in range(2)
    ]

    async def both():
        await asyncio.gather(
            *(NotebookClient(notebook, kernel_name=KERNEL, timeout=60).async_execute() for notebook in notebooks)
        )

    asyncio.run(both())
    assert [printed(notebook.cells[0]) for notebook in notebooks] == ["0\n", "1\n"]


TESTS = (
    hello_world,
    factorials,
    empty_cell,
    markdown_between,
    unicode,
    error,
    allowed_errors,
    allowed_by_name,
    raises_exception,
    raises_after_raises,
)
TESTS += (skip_execution, interrupt, timeout, image, update_display, rejection, top_level_await, parallel)

outcomes = {}
for test in TESTS:
    try:
        test()
        outcomes[test.__name__] = "ok"
    except Exception as wrong:
        outcomes[test.__name__] = f"{type(wrong).__name__}: {wrong}"[:300]
json.dump(outcomes, sys.stdout)
