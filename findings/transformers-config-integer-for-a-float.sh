#!/usr/bin/env bash
# transformers 5.23.0: a config.json whose layer_norm_epsilon or initializer_range is a whole number without a point is refused.
#
# JSON has one kind of number: 1.0 and 1 are the same, and a JavaScript program that reads and writes the file turns the one into the other.
# GPT2Config's two fields are checked to be Python floats, so the same configuration opens before and not after; the dropouts beside them
# take both.
#
# Seen: {"initializer_range": 1.0} opens; after node's JSON.parse and JSON.stringify: Field 'initializer_range' expected float, got int (value: 1).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet transformers==5.23.0
cd "$work"
echo '{"model_type": "gpt2", "initializer_range": 1.0, "layer_norm_epsilon": 1e-5, "resid_pdrop": 0.0}' > written.json
node -e 'const fs = require("fs"); fs.writeFileSync("again.json", JSON.stringify(JSON.parse(fs.readFileSync("written.json", "utf8"))));'
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - <<'PYTHON'
import json
from pathlib import Path
from transformers import AutoConfig

assert json.loads(Path("written.json").read_text()) == json.loads(Path("again.json").read_text())
said = []
for name in ("written.json", "again.json"):
    folder = Path(name).stem
    Path(folder).mkdir()
    (Path(folder) / "config.json").write_text(Path(name).read_text())
    try:
        said.append(f"opens: initializer_range {AutoConfig.from_pretrained(folder).initializer_range}")
    except Exception as error:
        said.append(" ".join(str(error).split()))
    print(name, said[-1])
assert said[0] == "opens: initializer_range 1.0"
assert "Field 'initializer_range' expected float, got int (value: 1)" in said[1]
PYTHON
