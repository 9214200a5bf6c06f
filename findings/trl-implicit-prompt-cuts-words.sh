#!/usr/bin/env bash
# TRL 1.16.0: in pairs of texts without a prompt, extract_prompt cuts words in two, and takes a character of an answer
# that the other one begins with.
#
# DPOTrainer accepts {"chosen", "rejected"} as texts that begin with the same prompt. The prompt is then all that they
# share, character by character, so words with the same beginning are cut, and a model is trained on tokens that it never
# sees when it writes ("bl" and "ue"). If the chosen text is the beginning of the rejected one, the loop over the
# characters ends without a difference, and the last character that they share is left out of the prompt.
#
# Seen:
#     The sky is blue. / The sky is black. -> prompt 'The sky is bl', chosen 'ue.', rejected 'ack.'
#     Say yes: Yes / Say yes: Yes, sure -> prompt 'Say yes: Ye', chosen 's', rejected 's, sure'
#     words of the parts [' bl', 'ue'], of the whole [' blue']
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0
"$work/venv/bin/pip" install --quiet transformers==5.23.0 trl==1.16.0 accelerate==1.15.0 datasets==5.2.0 tokenizers==0.23.3
cd "$work"
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - <<'PYTHON'
import sys

from tokenizers.pre_tokenizers import ByteLevel
from trl import extract_prompt


def words(text):
    """The pieces within which GPT-2 makes tokens; G-dot stands for a space."""
    return [piece.replace("\u0120", " ") for piece, _ in ByteLevel(add_prefix_space=False).pre_tokenize_str(text)]


def split(chosen, rejected):
    found = extract_prompt({"chosen": chosen, "rejected": rejected})
    print(f"{chosen} / {rejected} -> prompt {found['prompt']!r}, chosen {found['chosen']!r}, rejected {found['rejected']!r}")
    return found


cut = split("The sky is blue.", "The sky is black.")
begun = split("Say yes: Yes", "Say yes: Yes, sure")
apart = words(cut["prompt"])[-1:] + words(cut["chosen"])[:1]
whole = words("The sky is blue.")[-2:-1]
print(f"words of the parts {apart}, of the whole {whole}")
as_recorded = (
    cut == {"prompt": "The sky is bl", "chosen": "ue.", "rejected": "ack."}
    and begun == {"prompt": "Say yes: Ye", "chosen": "s", "rejected": "s, sure"}
    and apart == [" bl", "ue"]
    and whole == [" blue"]
)
sys.exit(0 if as_recorded else 1)
PYTHON
