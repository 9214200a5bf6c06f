#!/usr/bin/env bash
# nbformat 5.11.1 beside jupyter-events 0.12.1 (which JupyterLab needs): to open a notebook, Python first builds a
# parser of international web addresses, and this takes most of the time of the import.
#
# jupyter-events requires jsonschema with its extra format-nongpl, and that brings rfc3987-syntax 1.1.0. From then on,
# jsonschema, and so nbformat, nbclient, nbconvert and the server of JupyterLab, import that package at their start. Its
# module compiles the grammar of RFC 3987 with lark as it is imported, whether or not an address is ever checked; the
# schemas of notebooks have no field of that format. jsonschema does without the package where it is not installed, and
# reads notebooks in the same way.
#
# Seen, on one machine: seconds of processor time for `import nbformat`, 1.7 with the parser and 0.2 without it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet nbformat==5.11.1 jupyter-events==0.12.1 'jsonschema[format-nongpl]==4.26.0' \
  rfc3987-syntax==1.1.0 lark==1.3.1
cd "$work"
cat > read.py <<'PYTHON'
import sys
import time

if sys.argv[1] == "without":
    sys.modules["rfc3987_syntax"] = None  # as if it were not installed
start = time.process_time()
import nbformat

seconds = time.process_time() - start
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
nbformat.validate(notebook)
fields = sum(open(path, encoding="utf-8").read().count('"iri') for path in map(str, sys.argv[2:]))
print(f"{seconds:.3f} {'lark' in sys.modules} {fields}")
PYTHON
schemas=$("$work/venv/bin/python" -c 'import nbformat, pathlib; print(*pathlib.Path(nbformat.__file__).parent.rglob("*.schema.json"))')
"$work/venv/bin/python" read.py with $schemas > /dev/null # compiles the bytecode of all modules
"$work/venv/bin/python" read.py without $schemas > /dev/null
read -r with parser fields < <("$work/venv/bin/python" read.py with $schemas)
read -r without other _ < <("$work/venv/bin/python" read.py without $schemas)
echo "import nbformat: $with s with the parser, $without s without; fields of that format in the schemas: $fields"
[ "$parser $other $fields" = "True False 0" ] || { echo "the parser is no longer built, or the schemas need it"; exit 1; }
"$work/venv/bin/python" -c "import sys; sys.exit(not $with > 2 * $without)" || { echo "it takes no longer than half of the time"; exit 1; }
echo "as recorded"
