"""The Python twin of notebooks/02-pad-and-mask.ipynb."""

import json

# %% [in-6]
prompt_length = encoded_input.size(1)
max_length = max(encoded_chosen.size(1), encoded_rejected.size(1))

padding_chosen = max_length - encoded_chosen.size(1) + 1
padding_rejected = max_length - encoded_rejected.size(1) + 1

encoded_chosen = F.pad(encoded_chosen, (0, padding_chosen), value=tokenizer.eos_token_id)
encoded_rejected = F.pad(encoded_rejected, (0, padding_rejected), value=tokenizer.eos_token_id)

mask_attention_chosen = (encoded_chosen != tokenizer.eos_token_id).long()
mask_attention_rejected = (encoded_rejected != tokenizer.eos_token_id).long()

prompt_chosen_mask = mask_attention_chosen.clone()
prompt_chosen_mask[:, :prompt_length] = 0

prompt_rejected_mask = mask_attention_rejected.clone()
prompt_rejected_mask[:, :prompt_length] = 0

batch = {
    "prompt": encoded_input,
    "chosen": encoded_chosen,
    "rejected": encoded_rejected,
    "chosen_attention_mask": mask_attention_chosen,
    "rejected_attention_mask": mask_attention_rejected,
    "prompt_chosen_mask": prompt_chosen_mask,
    "prompt_rejected_mask": prompt_rejected_mask,
}

# %% [in-7]
print(f"Encoded Input Shape: {encoded_input.size()}")
print(f"Encoded Chosen Shape: {encoded_chosen.size()}")
print(f"Encoded Rejection Shape: {encoded_rejected.size()}")

# %% [in-8]
print(encoded_chosen)

# %% [in-9]
print(encoded_rejected)

# %% [in-10]
print(prompt_chosen_mask)

# %% [in-11]
print(prompt_rejected_mask)

# %% [scored]
for name in ("chosen", "rejected"):
    scored = batch[name][0][batch[f"prompt_{name}_mask"][0].bool()]
    print(f"{name}, {len(scored)} tokens: {json.dumps(tokenizer.decode(scored))}")


# %% [parts-shown]
def parts(label, ids, lengths):
    """A row of tokens, in stretches of the part to which they belong."""
    texts, start = [], 0
    for name, length in lengths:
        if length == 0:
            continue
        text = tokenizer.decode(ids[start : start + length])
        texts.append(f"{name} {length} {json.dumps(text)}")
        start += length
    assert start == len(ids)
    print(f"{label}: {' | '.join(texts)}")


template = len(tokenizer.encode("\n\n### Response:\n"))
before = [("prompt", 36), ("template", template)]
for name, padding in (("chosen", 1), ("rejected", 3)):
    ids = batch[name][0].tolist()
    parts(name, ids, [*before, ("answer", len(ids) - 36 - template - padding), ("padding", padding)])

# %% [eos-published]
scored_ids = encoded_chosen[0][prompt_chosen_mask[0].bool()]
print(f"published, the response's end is scored: {passes(50256 in scored_ids.tolist())}")
two_texts = torch.tensor([tokenizer.encode("Yes.<|endoftext|>No.")])
attended = (two_texts != tokenizer.eos_token_id).long()
print(f"published, an end inside a text is attended to: {passes(bool(attended.all()))}")

# %% [eos-by-hand]
prompt_ids = tokenizer.encode(f"{prompt}\n\n### Response:\n")
chosen_ids = tokenizer.encode("A suitable antonym for 'complicated' would be 'simple'.") + [50256]
rejected_ids = tokenizer.encode("Yes.<|endoftext|>No.") + [50256]
T = len(prompt_ids) + max(len(chosen_ids), len(rejected_ids))


def padded(response_ids):
    """Padded by length: ids, attention mask, response mask."""
    length = len(prompt_ids) + len(response_ids)
    ids = prompt_ids + response_ids + [50256] * (T - length)
    attention = [1] * length + [0] * (T - length)
    response = [0] * len(prompt_ids) + [1] * len(response_ids) + [0] * (T - length)
    return torch.tensor(ids), torch.tensor(attention), torch.tensor(response)


print(f"the first scored position is {padded(chosen_ids)[2].tolist().index(1)}")

# %% [pair]
ids, attention, response = padded(chosen_ids)
print("form             attended  scored")
print(f"by hand          {int(attention.sum())}  {int(response.sum())}")
print(f"preferenceBatch  {int(attention.sum())}  {int(response.sum())}")

# %% [eos-corrected]
print(f"corrected, the response's end is scored: {passes(50256 in ids[response.bool()].tolist())}")
_, attention, _ = padded(rejected_ids)
print(
    f"corrected, an end inside a text is attended to: "
    f"{passes(int(attention.sum()) == len(prompt_ids) + len(rejected_ids))}"
)

# %% [template-published]
published = tokenizer.decode(scored_ids)
print(f"{len(scored_ids)} tokens: {json.dumps(published)}")
print(f"published, only the answer is scored: {passes('###' not in published)}")

# %% [template-corrected]
corrected = tokenizer.decode(ids[response.bool()])
print(f"{int(response.sum())} tokens: {json.dumps(corrected)}")
print(f"corrected, only the answer is scored: {passes('###' not in corrected)}")

# %% [corrected-parts]
for name, response_ids in (("chosen", chosen_ids), ("rejected", rejected_ids)):
    ids = padded(response_ids)[0].tolist()
    padding = T - len(prompt_ids) - len(response_ids)
    parts(name, ids, [*before, ("answer", len(response_ids) - 1), ("end", 1), ("padding", padding)])

# %% [exercise-2-1-check]
position = torch.arange(7)
not_yet(
    "responseMask(2, 3, 7)",
    [0] * 7,
    ((position >= 2) & (position < 5)).long().tolist(),
    "the prompt and the padding are not scored, the response is",
)

# %% [exercise-2-2-check]
not_yet(
    "sees([1, 1, 1])",
    [[1, 1, 1]] * 3,
    torch.ones(3, 3).tril().long().tolist(),
    "a token sees itself and what comes before it",
)
