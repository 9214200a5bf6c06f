"""Makes tests/fixtures/tokenizer-kinds.json: tokenizers of many kinds, and the ids that transformers' AutoTokenizer
gives with each.

    .alignbook/oracles/bin/python tests/oracles/tokenizer_kinds.py

`base` is a byte-level BPE tokenizer.json with a small vocabulary, `config` its tokenizer_config.json. A kind has
`edits` of tokenizer.json (a path of keys and a value, or nothing to take the key away), `config` to be merged into
tokenizer_config.json (null takes the key away), `files` to be written besides, and `without`, files to be left out.
`ids` are those of `texts` without special tokens around them, by the text's number where they are not those of the
first kind, which stand beside the texts; `eos` is the end token's id. `refused` names the part that the library does
not reproduce and must refuse, where Python's pipeline gives other ids than GPT-2's, or other ids by class and by file.
"""

import copy
import json
import os
import tempfile
from pathlib import Path

from tokenizer import STRINGS
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

OUT = Path(os.environ.get("ORACLES_OUT", Path(__file__).resolve().parent.parent))
END = "<|endoftext|>"
TEXTS = [text for text in STRINGS[:100] if len(text) < 60] + [
    "\ta",
    " \ta",
    "\u00a0a",
    "\u3000a",
    "a<pad>b",
    "<pad> a",
    " <pad>",
    "<pad><pad>x",
    "<s>a</s>",
    "a<s> b",
    "<tool><toolbox>",
    "<toolbox>y",
    "x <toolbox> y",
    "new word newer",
    "anew wordy",
    "[MASK] [MASK]",
    "hellohello",
    "a hellohello",
]


def base():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + 60,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[END],
        show_progress=False,
    )
    tokenizer.train_from_iterator(
        [
            "the word of the world",
            "a new word and a newer one",
            "hello world hello there",
            "I'm here, you're there",
            "12 34 1234",
        ]
        * 4,
        trainer,
    )
    made = json.loads(tokenizer.to_str())
    made["model"]["merges"] = [
        merge if isinstance(merge, str) else " ".join(merge) for merge in made["model"]["merges"]
    ]
    return made


def token(content, id, **flags):
    return {
        "id": id,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
        **flags,
    }


def kinds(made):
    V = len(made["model"]["vocab"])
    end = made["added_tokens"]
    byte_level = made["pre_tokenizer"]
    pairs = [merge.split(" ") for merge in made["model"]["merges"]]
    slow = ["tokenizer.json"]
    files = {
        "vocab.json": made["model"]["vocab"],
        "merges.txt": "\n".join(["#version: 0.2", *made["model"]["merges"], ""]),
    }
    fast = {"tokenizer_class": "PreTrainedTokenizerFast"}
    template = lambda *pieces: {
        "type": "TemplateProcessing",
        "single": list(pieces),
        "pair": list(pieces) + [{"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {END: {"id": END, "ids": [0], "tokens": [END]}},
    }
    text, special = {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": END, "type_id": 0}}
    added = lambda *tokens: [["added_tokens"], end + list(tokens)]
    decoder = {
        "added_tokens_decoder": {
            "0": {key: value for key, value in end[0].items() if key != "id"},
            str(V): {key: value for key, value in token("<pad>", V).items() if key != "id"},
        },
        "pad_token": "<pad>",
    }
    sequence = lambda *parts: {"type": "Sequence", "pretokenizers": list(parts)}

    yield "as tokenizers writes it", {}
    yield (
        "as tokenizers before 0.10 wrote it, without a type",
        {"edits": [[["model", "type"]], [["pre_tokenizer", "use_regex"]]]},
    )
    yield "merges as pairs", {"edits": [[["model", "merges"], pairs]]}
    yield (
        "fields that came later left out",
        {
            "edits": [
                [["model", name]] for name in ("ignore_merges", "byte_fallback", "fuse_unk", "dropout", "unk_token")
            ]
            + [[["truncation"]], [["padding"]], [["post_processor"]]]
        },
    )
    yield (
        "a post-processor for offsets",
        {
            "edits": [
                [
                    ["post_processor"],
                    {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
                ]
            ]
        },
    )
    yield "a template that adds nothing", {"edits": [[["post_processor"], template(text)]]}
    yield "parts in sequences of one", {"config": fast, "edits": [[["pre_tokenizer"], sequence(byte_level)]]}
    yield "vocab.json and merges.txt", {"files": files, "without": [*slow, "tokenizer_config.json"]}
    yield (
        "and added_tokens.json",
        {
            "files": {
                **files,
                "added_tokens.json": {"<pad>": V},
                "special_tokens_map.json": {"eos_token": END, "pad_token": "<pad>"},
            },
            "without": [*slow, "tokenizer_config.json"],
        },
    )
    yield "and added_tokens_decoder", {"files": files, "config": decoder, "without": slow}
    yield "tokenizer.json with added_tokens_decoder", {"config": decoder}
    yield "a space before texts, by tokenizer_config.json", {"config": {"add_prefix_space": True}}
    yield (
        "a space before texts, without tokenizer.json",
        {"files": files, "config": {"add_prefix_space": True}, "without": slow},
    )
    yield (
        "a space before texts, by tokenizer.json, which GPT2Tokenizer passes over",
        {"edits": [[["pre_tokenizer", "add_prefix_space"], True]]},
    )
    yield (
        "a space before texts, by tokenizer.json, which other classes do not",
        {"edits": [[["pre_tokenizer", "add_prefix_space"], True]], "config": fast},
    )
    yield (
        "an added token that begins with another",
        {"edits": [added(token("<tool>", V), token("<toolbox>", V + 1), token("<tool><toolbox>", V + 2))]},
    )
    yield (
        "added words, which are looked for later",
        {
            "edits": [
                added(
                    token("new", V, normalized=True, special=False),
                    token("newer one", V + 1, normalized=True, special=False),
                    token(" new", V + 2),
                )
            ]
        },
    )
    yield (
        "a token of the vocabulary that only the config calls special",
        {"edits": [[["model", "vocab", "<s>"], V]], "config": {"bos_token": "<s>"}},
    )
    yield (
        "whole words before merges",
        {"edits": [[["model", "vocab", "hellohello"], V], [["model", "ignore_merges"], True]], "config": fast},
    )
    yield (
        "whole words before merges, which GPT2Tokenizer passes over",
        {"edits": [[["model", "vocab", "hellohello"], V], [["model", "ignore_merges"], True]]},
    )
    yield "a token of any name that ends in _token", {"config": {"word_token": "the"}}
    yield "extra special tokens by name", {"config": {"extra_special_tokens": {"word_token": "hello"}}}
    yield (
        "special_tokens_map.json, which has the last word",
        {"config": {"eos_token": "the"}, "files": {"special_tokens_map.json": {"eos_token": "hello"}}},
    )
    yield (
        "special_tokens_map.json, passed over beside added_tokens_decoder",
        {
            "config": {**decoder, "eos_token": "the"},
            "files": {**files, "special_tokens_map.json": {"eos_token": "hello"}},
            "without": slow,
        },
    )
    yield (
        "added_tokens.json, passed over beside added_tokens_decoder",
        {"files": {**files, "added_tokens.json": {"<tool>": V}}, "config": decoder, "without": slow},
    )
    yield (
        "<|endoftext|> in the vocabulary that nothing calls special",
        {
            "config": {**fast, "bos_token": "the", "eos_token": "the", "unk_token": "the"},
            "edits": [[["added_tokens"], []]],
        },
    )
    yield "<|endoftext|> that only GPT2Tokenizer calls special", {"edits": [[["added_tokens"], []]]}
    yield (
        "<|endoftext|> that the vocabulary lacks, and GPT2Tokenizer adds",
        {
            "config": {"bos_token": "</s>", "eos_token": "</s>", "unk_token": None},
            "edits": [
                [["model", "vocab", END]],
                [["model", "vocab", "</s>"], 0],
                [["added_tokens"], [token("</s>", 0)]],
            ],
        },
    )
    yield "added tokens in another order than their ids", {"edits": [[["added_tokens"], [token("<tool>", V), *end]]]}
    yield (
        "a class that config.json names",
        {
            "config": {"tokenizer_class": None},
            "files": {"config.json": {"model_type": "gpt2", "tokenizer_class": "PreTrainedTokenizerFast"}},
            "edits": [[["pre_tokenizer", "add_prefix_space"], True]],
        },
    )

    yield (
        "WordPiece",
        {
            "config": fast,
            "refused": 'model "WordPiece"',
            "edits": [
                [
                    ["model"],
                    {
                        "type": "WordPiece",
                        "unk_token": END,
                        "continuing_subword_prefix": "##",
                        "max_input_chars_per_word": 100,
                        "vocab": {END: 0, "hello": 1, "world": 2},
                    },
                ],
                [["decoder"], {"type": "WordPiece", "prefix": "##", "cleanup": True}],
                [["pre_tokenizer"], {"type": "BertPreTokenizer"}],
            ],
        },
    )
    yield (
        "WordPiece on bytes",
        {
            "config": fast,
            "refused": 'model "WordPiece"',
            "edits": [
                [
                    ["model"],
                    {
                        "type": "WordPiece",
                        "unk_token": END,
                        "continuing_subword_prefix": "##",
                        "max_input_chars_per_word": 100,
                        "vocab": {END: 0, "hello": 1, "world": 2},
                    },
                ]
            ],
        },
    )
    yield (
        "Unigram",
        {
            "config": fast,
            "refused": 'model "Unigram"',
            "edits": [
                [
                    ["model"],
                    {
                        "type": "Unigram",
                        "unk_id": 0,
                        "vocab": [[END, 0.0], ["\u2581hello", -1.0], ["h", -3.0]],
                        "byte_fallback": False,
                    },
                ]
            ],
        },
    )
    yield (
        "WordLevel",
        {
            "config": fast,
            "refused": 'model "WordLevel"',
            "edits": [[["model"], {"type": "WordLevel", "unk_token": END, "vocab": {END: 0, "hello": 1}}]],
        },
    )
    yield (
        "BPE with Metaspace",
        {
            "config": fast,
            "refused": "pre_tokenizer Metaspace",
            "edits": [
                [
                    ["pre_tokenizer"],
                    {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
                ],
                [
                    ["decoder"],
                    {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
                ],
            ],
        },
    )
    yield (
        "white space split off before ByteLevel",
        {
            "config": fast,
            "refused": "pre_tokenizer Sequence of Whitespace, ByteLevel",
            "edits": [[["pre_tokenizer"], sequence({"type": "Whitespace"}, byte_level)]],
        },
    )
    yield (
        "digits split off before ByteLevel",
        {
            "config": fast,
            "refused": "pre_tokenizer Sequence of Digits, ByteLevel",
            "edits": [[["pre_tokenizer"], sequence({"type": "Digits", "individual_digits": True}, byte_level)]],
        },
    )
    yield (
        "ByteLevel without its pattern",
        {"config": fast, "refused": "use_regex false", "edits": [[["pre_tokenizer", "use_regex"], False]]},
    )
    yield (
        "lower case",
        {"config": fast, "refused": "normalizer Lowercase", "edits": [[["normalizer"], {"type": "Lowercase"}]]},
    )
    yield "NFC", {"config": fast, "refused": "normalizer NFC", "edits": [[["normalizer"], {"type": "NFC"}]]}
    yield (
        "a template around every text",
        {
            "refused": "post_processor, TemplateProcessing, which adds <|endoftext|> and <|endoftext|>,",
            "edits": [[["post_processor"], template(special, text, special)]],
        },
    )
    yield (
        "RoBERTa's post-processor",
        {
            "refused": "post_processor, RobertaProcessing,",
            "edits": [
                [
                    ["post_processor"],
                    {
                        "type": "RobertaProcessing",
                        "sep": [END, 0],
                        "cls": [END, 0],
                        "trim_offsets": True,
                        "add_prefix_space": False,
                    },
                ]
            ],
        },
    )
    yield "dropout", {"config": fast, "refused": 'dropout "0.1"', "edits": [[["model", "dropout"], 0.1]]}
    yield (
        "byte fallback",
        {"config": fast, "refused": 'byte_fallback "true"', "edits": [[["model", "byte_fallback"], True]]},
    )
    yield (
        "a suffix at the end of words",
        {"config": fast, "refused": 'end_of_word_suffix "</w>"', "edits": [[["model", "end_of_word_suffix"], "</w>"]]},
    )
    yield (
        "an added token that takes the space before it",
        {
            "config": fast,
            "refused": 'added token "<pad>" with lstrip',
            "edits": [added(token("<pad>", V, lstrip=True))],
        },
    )
    yield (
        "an added token between words only",
        {
            "config": fast,
            "refused": 'added token "new" with single_word',
            "edits": [added(token("new", V, single_word=True))],
        },
    )
    yield (
        "a beginning-of-sequence token before every text",
        {"files": files, "config": {"add_bos_token": True}, "without": slow, "refused": 'add_bos_token "true"'},
    )
    yield (
        "an id that Python does not give",
        {"edits": [added(token("<pad>", V + 40))], "refused": '"<pad>" under the id'},
    )
    yield (
        "ids that leave one out",
        {"edits": [added(token("<pad>", V), token("<tool>", V + 2))], "refused": '"<tool>" under the id'},
    )
    yield (
        "added_tokens.json with an id that Python does not give",
        {
            "files": {**files, "added_tokens.json": {"<pad>": V + 40}},
            "without": slow,
            "refused": '"<pad>" under the id',
        },
    )
    yield (
        "an added_tokens_decoder that lacks one of tokenizer.json's tokens",
        {
            "config": {"added_tokens_decoder": {}},
            "edits": [added(token("<pad>", V))],
            "refused": '"added_tokens_decoder" lacks "<pad>"',
        },
    )
    yield (
        "a named token that takes the space before it",
        {
            "config": {
                "eos_token": {
                    "__type": "AddedToken",
                    "content": "the",
                    "lstrip": True,
                    "rstrip": False,
                    "normalized": False,
                    "single_word": False,
                }
            },
            "refused": 'added token "the" with lstrip',
        },
    )
    yield (
        "the class of another model",
        {"config": {"tokenizer_class": "RobertaTokenizer"}, "refused": 'tokenizer_class "RobertaTokenizer"'},
    )
    yield (
        "a class that takes tokenizer.json, without it",
        {"files": files, "config": fast, "without": slow, "refused": "needs a tokenizer.json"},
    )
    yield (
        "special tokens taken apart",
        {"config": {"split_special_tokens": True}, "refused": 'split_special_tokens "true"'},
    )
    yield (
        "a special token without an id",
        {"config": {"additional_special_tokens": ["<nowhere>"]}, "refused": 'special token "<nowhere>"'},
    )


def edited(made, edits):
    made = copy.deepcopy(made)
    for path, *value in edits:
        place = made
        for key in path[:-1]:
            place = place[key]
        if value:
            place[path[-1]] = value[0]
        else:
            place.pop(path[-1], None)
    return made


def written(folder, made, config, kind):
    files = {
        "config.json": {"model_type": "gpt2"},
        "tokenizer.json": edited(made, kind.get("edits", [])),
        "tokenizer_config.json": {
            key: value for key, value in {**config, **kind.get("config", {})}.items() if value is not None
        },
        **kind.get("files", {}),
    }
    for name, content in files.items():
        if name not in kind.get("without", []):
            (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


def main():
    made, config = base(), {"tokenizer_class": "GPT2Tokenizer", "bos_token": END, "eos_token": END, "unk_token": END}
    found = []
    for name, kind in kinds(made):
        if "refused" not in kind:
            with tempfile.TemporaryDirectory() as folder:
                written(Path(folder), made, config, kind)
                tokenizer = AutoTokenizer.from_pretrained(folder)
                kind = {
                    **kind,
                    "eos": tokenizer.eos_token_id,
                    "ids": [tokenizer.encode(text, add_special_tokens=False) for text in TEXTS],
                }
        found.append({"name": name, **kind})
    usual = found[0]["ids"]
    for kind in found:
        if "ids" in kind:
            kind["ids"] = {n: ids for n, ids in enumerate(kind["ids"]) if ids != usual[n]}
    (OUT / "fixtures" / "tokenizer-kinds.json").write_text(
        json.dumps({"base": made, "config": config, "texts": TEXTS, "ids": usual, "kinds": found}) + "\n"
    )


if __name__ == "__main__":
    main()
