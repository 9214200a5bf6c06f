#!/usr/bin/env bash
# @huggingface/jinja 0.5.11: a template prints true, false and none otherwise than Python's jinja2 3.1.6, which transformers renders chat templates with.
#
# `{{ true }}` is "true" for Python's "True", `{{ none }}` is "" for "None", and a field of a field that is missing is "" where jinja2 raises an
# error. A chat template that prints a test's result gives the model another prompt, and nothing says so.
#
# Seen: [true||] by the one, [True|None|] by the other, which then refuses `{{ m.foo.bar }}`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y > npm.log && npm install --silent --save-exact @huggingface/jinja@0.5.11 >> npm.log
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet jinja2==3.1.6
node --input-type=module - > node.txt <<'JS'
import { Template } from '@huggingface/jinja';
const render = (text) => new Template(text).render({ m: { content: 'x' } });
console.log(`${render("[{{ 'x' in m.content }}|{{ none }}|{{ m.foo }}]")} ${JSON.stringify(render('{{ m.foo.bar }}'))}`);
JS
"$work/venv/bin/python" - > python.txt <<'PYTHON'
import jinja2

render = lambda text: jinja2.Environment().from_string(text).render(m={"content": "x"})
try:
    missing = render("{{ m.foo.bar }}")
except jinja2.UndefinedError:
    missing = "refused"
print(render("[{{ 'x' in m.content }}|{{ none }}|{{ m.foo }}]"), missing)
PYTHON
cat node.txt python.txt
[ "$(cat node.txt)" = '[true||] ""' ] && [ "$(cat python.txt)" = '[True|None|] refused' ]
