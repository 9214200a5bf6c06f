#!/usr/bin/env bash
# @huggingface/jinja 0.5.11: strip's argument is passed over, and a variable that a loop's turn sets is there in the next one; not so in Python's jinja2 3.1.6.
#
# Chat templates use both: `.strip('\n')` keeps spaces in Python, and `{% set content = … %}` within the loop over messages begins anew with each
# message. Here the one takes the spaces away, and of the other a later message sees what an earlier one set. Neither says anything.
#
# Seen: strip gives [a] for Python's [ a ]. A loop whose turns each print x, set it to "b" and print it again, with x "a" before: ab bb bb for
# Python's ab ab ab.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y > npm.log && npm install --silent --save-exact @huggingface/jinja@0.5.11 >> npm.log
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet jinja2==3.1.6
cat > strip.txt <<'TEXT'
[{{ " a \n".strip("\n") }}]
TEXT
cat > set.txt <<'TEXT'
{% set x = "a" %}{% for n in [1, 2, 3] %}{{ x }}{% set x = "b" %}{{ x }} {% endfor %}
TEXT
node --input-type=module - > node.txt <<'JS'
import { readFileSync } from 'node:fs';
import { Template } from '@huggingface/jinja';
for (const name of ['strip', 'set']) console.log(new Template(readFileSync(`${name}.txt`, 'utf8').trim()).render({}).trim());
JS
"$work/venv/bin/python" - > python.txt <<'PYTHON'
from pathlib import Path
import jinja2

for name in ("strip", "set"):
    print(jinja2.Environment().from_string(Path(f"{name}.txt").read_text().strip()).render().strip())
PYTHON
cat node.txt python.txt
[ "$(cat node.txt)" = $'[a]\nab bb bb' ] && [ "$(cat python.txt)" = $'[ a ]\nab ab ab' ]
