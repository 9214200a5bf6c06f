"""The Python twin of notebooks/03-logprobs.ipynb."""

import math

# %% [in-12]
model_policy = GPT2LMHeadModel.from_pretrained(MODEL, dtype=torch.float32)
model_reference = GPT2LMHeadModel.from_pretrained(MODEL, dtype=torch.float32)


# %% [in-22]
def compute_logprobs(logits, labels, selection_mask=None):
    log_probs = F.log_softmax(logits, dim=-1)
    selected_log_probs = torch.gather(input=log_probs, dim=-1, index=labels.unsqueeze(-1)).squeeze(-1)
    if selection_mask is not None:
        selected_log_probs *= selection_mask
        avg_log_prob = -selected_log_probs.sum(dim=-1) / selection_mask.sum(dim=-1)
    else:
        avg_log_prob = -selected_log_probs.mean(dim=-1)
    return avg_log_prob


# %% [in-26]
# Depends on the weights.
dpo_policy_chosen_logits = model_policy(batch["chosen"], attention_mask=batch["chosen_attention_mask"]).logits
dpo_policy_chosen_targets = batch["chosen"]
dpo_policy_chosen_logprobs = F.log_softmax(dpo_policy_chosen_logits, dim=-1)
dpo_policy_chosen_selected_logprobs = torch.gather(
    input=dpo_policy_chosen_logprobs, dim=-1, index=dpo_policy_chosen_targets.unsqueeze(-1)
).squeeze(-1)

batch_loss_manual = -dpo_policy_chosen_selected_logprobs * batch["prompt_chosen_mask"]
batch_loss_manual = batch_loss_manual.sum(-1) / batch["prompt_chosen_mask"].sum(-1)

logits_reshaped = dpo_policy_chosen_logits.view(-1, dpo_policy_chosen_logits.size(-1))
targets_reshaped = dpo_policy_chosen_targets.view(-1)
loss_per_token = F.cross_entropy(logits_reshaped, targets_reshaped, reduction="none")
loss_per_token = loss_per_token.view(dpo_policy_chosen_targets.size())
masked_loss_per_token = loss_per_token * batch["prompt_chosen_mask"]
masked_loss_per_sequence = masked_loss_per_token.sum(-1) / batch["prompt_chosen_mask"].sum(-1)
cross_entropy_loss_manual = masked_loss_per_sequence.mean()

print(f"The manual batch loss is: {batch_loss_manual.item()}")
print(f"The manual cross-entropy loss is: {cross_entropy_loss_manual.item()}")

# %% [shift-published]
text = torch.tensor([[1, 2, 3, 4]])
response = torch.tensor([[0, 1, 1, 1]])
certain = 100.0 * F.one_hot(torch.tensor([[2, 3, 4, 0]]), 5)
loss = compute_logprobs(certain, text, response)
print(f"{loss.item():.4f} nats a token")
print(f"published, a model that is always right has loss 0: {passes(loss.item() < 1e-3)}")

# %% [shift-by-hand]
two_logits = torch.tensor([[[0.0, math.log(3)], [0.0, 0.0]]])
two_ids = torch.tensor([[0, 1]])
shifted = F.log_softmax(two_logits[:, :-1], -1).gather(-1, two_ids[:, 1:, None]).squeeze(-1)
print(f"by hand:       {shifted.item():.4f}")

# %% [shift-corrected]
next_logps = F.log_softmax(certain[:, :-1], -1).gather(-1, text[:, 1:, None]).squeeze(-1)
loss = -(next_logps * response[:, 1:]).sum()
print(f"perTokenLogps: {shifted.item():.4f}")
print(f"{loss.item():.4f} nats")
print(f"corrected, a model that is always right has loss 0: {passes(loss.item() < 1e-3)}")

# %% [shift-model]
# Depends on the weights.
mask = batch["prompt_chosen_mask"]
own = F.log_softmax(dpo_policy_chosen_logits, -1).gather(-1, batch["chosen"][..., None]).squeeze(-1)
nexts = F.log_softmax(dpo_policy_chosen_logits[:, :-1], -1).gather(-1, batch["chosen"][:, 1:, None]).squeeze(-1)
print(f"itself: {(own * mask).sum().item() / 21:.4f} a token")
print(f"next:   {(nexts * mask[:, 1:]).sum().item() / 21:.4f} a token")

# %% [sign]
# Depends on the weights.
published = compute_logprobs(dpo_policy_chosen_logits, batch["chosen"], mask).item()
corrected = corrected_sum = (nexts * mask[:, 1:]).sum().item()
print(f"published, {published:.4f} is at most 0: {passes(published <= 0)}")
print(f"corrected, {corrected:.4f} is at most 0: {passes(corrected <= 0)}")

# %% [sum]
halves = torch.log(torch.tensor([[0.5, 0.25]]))
published = halves.mean().exp().item()
corrected = halves.sum().exp().item()
print(f"published, {published:.4f} is the answer's probability: {passes(abs(published - 0.125) < 1e-6)}")
print(f"corrected, {corrected:.4f} is the answer's probability: {passes(abs(corrected - 0.125) < 1e-6)}")

# %% [sum-by-hand]
# Depends on the weights.
print("form  log p(answer)")
print(f"by hand  {corrected_sum:.4f}")
print(f"logps(perTokenLogps(…))  {corrected_sum:.4f}")

# %% [check-published]
wrong_logits = dpo_policy_chosen_logits.flip(1)
manual = compute_logprobs(wrong_logits, batch["chosen"], mask)
cross_entropy = F.cross_entropy(wrong_logits.view(-1, wrong_logits.size(-1)), targets_reshaped, reduction="none")
cross_entropy = (cross_entropy.view(mask.size()) * mask).sum(-1) / mask.sum(-1)
print(f"published, the check sees wrong logits: {passes(abs((manual - cross_entropy).item()) > 1e-3)}")

# %% [check-corrected]
# Depends on the weights.
labels = batch["chosen"].masked_fill(mask == 0, -100)
transformers_loss = model_policy(
    batch["chosen"], attention_mask=batch["chosen_attention_mask"], labels=labels
).loss.item()
print(f"loss: {transformers_loss:.5f}")
wrong = F.log_softmax(wrong_logits[:, :-1], -1).gather(-1, batch["chosen"][:, 1:, None]).squeeze(-1)
wrong_loss = -(wrong * mask[:, 1:]).sum().item() / 21
print(f"corrected, the check sees wrong logits: {passes(abs(wrong_loss - transformers_loss) > 1e-3)}")

# %% [exercise-3-1-check]
log_probs = torch.tensor([[-1, -2, -3], [-4, -5, -6], [-7, -8, -9]])
ids = torch.tensor([0, 2, 1])
not_yet(
    "gatherNext([[-1, -2, -3], [-4, -5, -6], [-7, -8, -9]], [0, 2, 1])",
    [],
    log_probs[:-1].gather(-1, ids[1:, None]).squeeze(-1).tolist(),
    "row 0 predicts token 2, row 1 token 1, and row 2 nothing here",
)

# %% [exercise-3-2-check]
answer_logps = torch.tensor([0.5, 0.125], dtype=torch.float64).log()
not_yet(
    f"perplexity({written(answer_logps.tolist())})",
    0,
    torch.exp(-answer_logps.mean()).item(),
    "the geometric mean of 1/2 and 1/8 is 1/4",
)
