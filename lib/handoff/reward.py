"""The reward of a GRPO run: the scores that `npx alignbook score --serve` gives. Change it as you like.

SCORE_URL            where the server listens (default: http://127.0.0.1:8900/score)
SCORE_TOKEN_FILE     a file with its token, if it was started with --token-file
"""

import json
import os
from pathlib import Path
from urllib.request import Request, urlopen

URL = os.environ.get("SCORE_URL", "http://127.0.0.1:8900/score")
TOKEN_FILE = os.environ.get("SCORE_TOKEN_FILE")


def reward(prompts, completion_ids, **_):
    """One score per answer. Ids are sent, not texts: they say whether an answer ended or was cut off."""
    rows = [{"promptIds": list(prompt), "ids": list(ids)} for prompt, ids in zip(prompts, completion_ids, strict=True)]
    headers = {"Content-Type": "application/json"}
    if TOKEN_FILE:
        headers["Authorization"] = f"Bearer {Path(TOKEN_FILE).read_text().strip()}"
    with urlopen(Request(URL, json.dumps({"rows": rows}).encode(), headers), timeout=600) as response:
        return json.load(response)["scores"]
