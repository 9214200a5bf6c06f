"""Passes ids to trainers that require texts: as words "t1 t2 …" for a tokenizer whose vocabulary consists of the
ids."""

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def text(ids):
    return " ".join(f"t{n}" for n in ids)


def word_tokenizer(vocabulary, end):
    tokenizer = Tokenizer(models.WordLevel({f"t{n}": n for n in range(vocabulary)}, unk_token=f"t{end}"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=f"t{end}", pad_token=f"t{end}", unk_token=f"t{end}"
    )
