"""The Python twin of notebooks/01-tokenize.ipynb: what each cell prints is what its TypeScript cell must print."""

from printing import not_yet, written

# %% [in-1]
import torch
import torch.nn.functional as F
from transformers import GPT2LMHeadModel, GPT2Tokenizer

# %% [in-2]
prompt = (
    "Below is an instruction that describes a task.\n"
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n"
    "What is an antonym of 'complicated'?"
)
chosen = "### Response:\nA suitable antonym for 'complicated' would be 'simple'."
rejected = "### Response:\nAn antonym of 'complicated' is 'simple'."

chosen_full_text = f"{prompt}\n\n{chosen}"
rejected_full_text = f"{prompt}\n\n{rejected}"

# %% [in-3]
print(f"Prompt:\n{prompt}")
print("\n\n")
print(f"Chosen Response:\n{chosen_full_text}")
print("\n\n")
print(f"Rejected Response:\n{rejected_full_text}")

# %% [in-4]
tokenizer = GPT2Tokenizer.from_pretrained(MODEL)

encoded_input = tokenizer.encode(prompt, return_tensors="pt")
encoded_chosen = tokenizer.encode(chosen_full_text, return_tensors="pt")
encoded_rejected = tokenizer.encode(rejected_full_text, return_tensors="pt")

# %% [in-5]
print(f"The pad token is, {tokenizer.pad_token}, id: {tokenizer.pad_token_id}")
print(f"The end of string token is, {tokenizer.eos_token}, id: {tokenizer.eos_token_id}")
print("Because the pad token is None, we will use the eos token as the pad token.")

# %% [tokens]
print("|".join(tokenizer.decode([i]) for i in encoded_rejected[0, 42:].tolist()))


# %% [passes]
def passes(holds):
    return "passes" if holds else "fails"


# %% [boundary-published]
question = "The opposite of 'complicated' is "
answer = "simple."
question_ids = tokenizer.encode(question)
whole_ids = tokenizer.encode(question + answer)
print("|".join(tokenizer.decode([i]) for i in question_ids))
print("|".join(tokenizer.decode([i]) for i in whole_ids))
print(f"response: {tokenizer.decode(whole_ids[len(question_ids) :])}")
print(f"published, the whole begins with the prompt's ids: {passes(whole_ids[: len(question_ids)] == question_ids)}")

# %% [boundary-by-hand]
response_ids = tokenizer.encode(answer) + [tokenizer.eos_token_id]
joined = question_ids + response_ids
print(f"by hand:    {' '.join(str(i) for i in joined)}")

# %% [boundary-corrected]
print(f"encodePair: {' '.join(str(i) for i in joined)}")
print(f"response: {tokenizer.decode(response_ids)}")
print(f"corrected, the whole begins with the prompt's ids: {passes(joined[: len(question_ids)] == question_ids)}")


# %% [exercise-1-1-check]
alone = tokenizer.encode("An antonym is")
holds = tokenizer.encode("An antonym is simple.")[: len(alone)] == alone
not_yet(
    'boundaryHolds("An antonym is", " simple.")',
    None,
    holds,
    "the space belongs to the word after it, so no token spans the boundary",
)

# %% [exercise-1-2-check]
rows = [[5, 6, 7], [8]]
padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=0)
not_yet(
    "padRows([[5, 6, 7], [8]], 0)",
    rows,
    padded.tolist(),
    "each row is padded on the right, to the length of the longest",
)
