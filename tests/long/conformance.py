"""Jupyter's own test of a kernel (jupyter_kernel_test), for the kernel named in KERNEL: prints each test's outcome as
JSON.

Left out are what tslab has not: a pager, execute_result (it prints the last expression), a kept history, clear_output.
"""

import json
import os
import sys
import unittest

import jupyter_kernel_test


class Conformance(jupyter_kernel_test.KernelTests):
    kernel_name = os.environ["KERNEL"]
    language_name = "typescript"
    file_extension = ".ts"
    code_hello_world = "console.log('hello, world');"
    code_stderr = "console.error('a warning');"
    completion_samples = [
        {"text": "const hello = 1;\nhell", "matches": {"hello"}},
        {"text": "Math.cei", "matches": {"ceil"}},
    ]
    complete_code_samples = ["1", "const x = 1;", "function f() {\n  return 1;\n}", "await null;"]
    incomplete_code_samples = ["function f() {", "const x = (1 +", "`text"]
    invalid_code_samples = ["const = 1;", "let let x;"]
    code_generate_error = "throw new Error('made on purpose');"
    code_display_data = [
        {"code": "import { display } from 'tslab';\ndisplay.html('<b>bold</b>');", "mime": "text/html"}
    ]
    code_inspect_sample = "Math"


class Outcomes(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.outcomes = {}

    def tell(self, test, outcome):
        self.outcomes.setdefault(test.id().rpartition(".")[2], outcome)

    def addSuccess(self, test):
        self.tell(test, "ok")

    def addError(self, test, err):
        self.tell(test, f"{err[0].__name__}: {err[1]}")

    addFailure = addError

    def addSubTest(self, test, subtest, err):
        if err:
            self.tell(test, f"{err[0].__name__}: {err[1]}")

    def addSkip(self, test, reason):
        self.tell(test, "skipped")


outcomes = Outcomes()
unittest.defaultTestLoader.loadTestsFromTestCase(Conformance).run(outcomes)
json.dump(outcomes.outcomes, sys.stdout)
