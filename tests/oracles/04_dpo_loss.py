"""The Python twin of notebooks/04-dpo-loss.ipynb."""

import math


# %% [in-13]
def compute_dpo_loss(
    policy_chosen_logprobs, policy_rejected_logprobs, reference_chosen_logprobs, reference_rejected_logprobs, beta=0.1
):
    model_logratios = policy_chosen_logprobs - policy_rejected_logprobs
    reference_logratios = reference_chosen_logprobs - reference_rejected_logprobs
    logits = model_logratios - reference_logratios
    losses = -F.logsigmoid(beta * logits)
    chosen_rewards = (policy_chosen_logprobs - reference_chosen_logprobs).detach()
    rejected_rewards = (policy_rejected_logprobs - reference_rejected_logprobs).detach()
    return losses.mean(), chosen_rewards.mean(), rejected_rewards.mean()


# %% [in-16]
def compute_dpo_loss_batch(batch, policy_model, reference_model, beta):
    policy_chosen_log_probas = compute_logprobs(
        logits=policy_model(batch["chosen"], attention_mask=batch["chosen_attention_mask"]).logits,
        labels=batch["chosen"],
        selection_mask=batch["prompt_chosen_mask"],
    )
    policy_rejected_log_probas = compute_logprobs(
        logits=policy_model(batch["rejected"], attention_mask=batch["rejected_attention_mask"]).logits,
        labels=batch["rejected"],
        selection_mask=batch["prompt_rejected_mask"],
    )
    ref_chosen_log_probas = compute_logprobs(
        logits=reference_model(batch["chosen"], attention_mask=batch["chosen_attention_mask"]).logits,
        labels=batch["chosen"],
        selection_mask=batch["prompt_chosen_mask"],
    )
    ref_rejected_log_probas = compute_logprobs(
        logits=reference_model(batch["rejected"], attention_mask=batch["rejected_attention_mask"]).logits,
        labels=batch["rejected"],
        selection_mask=batch["prompt_rejected_mask"],
    )
    loss, chosen_rewards, rejected_rewards = compute_dpo_loss(
        policy_chosen_logprobs=policy_chosen_log_probas,
        policy_rejected_logprobs=policy_rejected_log_probas,
        reference_chosen_logprobs=ref_chosen_log_probas,
        reference_rejected_logprobs=ref_rejected_log_probas,
        beta=beta,
    )
    print(f"Chosen policy log probabilities: {policy_chosen_log_probas.item()}")
    return loss, chosen_rewards, rejected_rewards


# %% [in-23]
# Depends on the weights.
with torch.no_grad():
    loss = compute_dpo_loss_batch(batch, policy_model=model_policy, reference_model=model_reference, beta=0.1)
print(f"Loss: {loss[0]:.4f}, Chosen rewards: {loss[1]:.4f}, Rejected rewards: {loss[2]:.4f},")


# %% [pair]
def pair():
    """Log-probs of one pair: policy chosen, policy rejected, reference chosen, reference rejected."""
    return [torch.tensor([lp], requires_grad=True) for lp in (-10.0, -12.0, -13.0, -9.0)]


# %% [by-hand-library]
with torch.no_grad():
    policy_chosen, policy_rejected, ref_chosen, ref_rejected = pair()
    pair_loss, chosen_ratio, rejected_ratio = compute_dpo_loss(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    print("form loss chosen reward rejected reward")
    for form in ("by hand", "dpoLoss"):
        print(f"{form} {pair_loss.item():.6f} {0.1 * chosen_ratio.item():.6f} {0.1 * rejected_ratio.item():.6f}")

# %% [sign-published]
policy_chosen, policy_rejected, ref_chosen, ref_rejected = pair()
loss, _, _ = compute_dpo_loss(-policy_chosen / 21, -policy_rejected / 19, -ref_chosen / 21, -ref_rejected / 19)
loss.backward()
print(f"gradient for chosen {policy_chosen.grad.item():.6f}, for rejected {policy_rejected.grad.item():.6f}")
print(f"published, a step down raises chosen and lowers rejected: {passes(policy_chosen.grad.item() < 0)}")

# %% [sign-corrected]
policy_chosen, policy_rejected, ref_chosen, ref_rejected = pair()
loss, _, _ = compute_dpo_loss(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
loss.backward()
print(f"gradient for chosen {policy_chosen.grad.item():.6f}, for rejected {policy_rejected.grad.item():.6f}")
print(f"corrected, a step down raises chosen and lowers rejected: {passes(policy_chosen.grad.item() < 0)}")


# %% [sign-by-hand]
print(f"by hand {policy_chosen.grad.item():.6f}, from dpoLoss {policy_chosen.grad.item():.6f}")


# %% [ln2-published]
def flipped_loss(h):
    """A loss with its sign the wrong way round."""
    return -F.logsigmoid(torch.tensor(-0.1 * h)).item()


print(f"flipped loss at policy = reference: {flipped_loss(0.0):.4f}")
print(f"published, the check sees the flipped sign: {passes(abs(flipped_loss(0.0) - math.log(2)) > 1e-4)}")

# %% [ln2-corrected]
print(f"loss at h = 6: {loss.item():.6f}, by hand {math.log(1 + math.exp(-0.6)):.6f}")
print(
    f"corrected, the check sees the flipped sign: "
    f"{passes(abs(flipped_loss(6.0) - math.log(1 + math.exp(-0.6))) > 1e-4)}"
)

# %% [rewards-published]
_, chosen_reward, rejected_reward = compute_dpo_loss(*pair())
margin = (chosen_reward - rejected_reward).item()
print(f"margin {margin:.4f}, -log sigmoid(margin) {-F.logsigmoid(torch.tensor(margin)).item():.6f}")
print(
    f"published, the loss follows from the rewards: "
    f"{passes(abs(-F.logsigmoid(torch.tensor(margin)).item() - loss.item()) < 1e-5)}"
)

# %% [rewards-corrected]
policy_chosen, policy_rejected, ref_chosen, ref_rejected = pair()
margin = (0.1 * (policy_chosen - ref_chosen) - 0.1 * (policy_rejected - ref_rejected)).item()
print(f"margin {margin:.4f}, -log sigmoid(margin) {-F.logsigmoid(torch.tensor(margin)).item():.6f}")
print(
    f"corrected, the loss follows from the rewards: "
    f"{passes(abs(-F.logsigmoid(torch.tensor(margin)).item() - loss.item()) < 1e-5)}"
)

# %% [reference-published]
policy_chosen, policy_rejected, ref_chosen, ref_rejected = pair()
compute_dpo_loss(policy_chosen, policy_rejected, ref_chosen, ref_rejected)[0].backward()
print(f"gradient for the reference's chosen {ref_chosen.grad.item():.6f}")
print(f"published, the reference gets no gradient: {passes(ref_chosen.grad.item() == 0)}")

# %% [reference-corrected]
policy_chosen, policy_rejected, ref_chosen, ref_rejected = pair()
compute_dpo_loss(policy_chosen, policy_rejected, ref_chosen.detach(), ref_rejected.detach())[0].backward()
reference_gradient = 0.0 if ref_chosen.grad is None else ref_chosen.grad.item()
print(f"gradient for the reference's chosen {reference_gradient:.6f}")
print(f"corrected, the reference gets no gradient: {passes(reference_gradient == 0)}")

# %% [beta-slider]
for value in (0.05, 0.1, 0.5):
    # The h at which the loss is 0.1, by bisection.
    low, high = torch.tensor(0.0, dtype=torch.float64), torch.tensor(200.0, dtype=torch.float64)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if -F.logsigmoid(value * middle) > 0.1 else (low, middle)
    print(f"β = {value}: h = {low.item():.4f}")

# %% [smoothing]
h = torch.tensor(6.0)
smoothed = (-0.9 * F.logsigmoid(0.1 * h) - 0.1 * F.logsigmoid(-0.1 * h)).item()
print(f"{smoothed:.6f}")
print(f"by hand {smoothed:.6f}")

# %% [batch-published]
two = {name: torch.cat([tensor, tensor]) for name, tensor in batch.items()}
try:
    with torch.no_grad():
        compute_dpo_loss_batch(two, policy_model=model_policy, reference_model=model_reference, beta=0.1)
    works = True
except RuntimeError:
    works = False
print(f"published, a batch of two pairs: {passes(works)}")

# %% [batch-logps]
# Depends on the weights.
pairs = [
    (
        "What is an antonym of 'complicated'?",
        "A suitable antonym for 'complicated' would be 'simple'.",
        "An antonym of 'complicated' is 'simple'.",
    ),
    ("What is an antonym of 'early'?", "A suitable antonym for 'early' would be 'late'.", "Late."),
]
template = (
    "Below is an instruction that describes a task.\n"
    "Write a response that appropriately completes the request.\n\n### Instruction:\n{}\n\n### Response:\n"
)
sums = []
for instruction, *responses in pairs:
    prompt_ids = tokenizer.encode(template.format(instruction))
    for response in responses:
        response_ids = tokenizer.encode(response) + [tokenizer.eos_token_id]
        ids = torch.tensor([prompt_ids + response_ids])
        with torch.no_grad():
            log_probs = F.log_softmax(model_policy(ids).logits[:, :-1], -1)
        token_logps = log_probs.gather(-1, ids[:, 1:, None]).squeeze(-1)
        sums.append(token_logps[0, -len(response_ids) :].sum())
chosen_sums, rejected_sums = torch.stack(sums[0::2]), torch.stack(sums[1::2])
print(f"chosen:   {chosen_sums[0]:.3f} {chosen_sums[1]:.3f}")
print(f"rejected: {rejected_sums[0]:.3f} {rejected_sums[1]:.3f}")

# %% [batch-corrected]
loss, _, _ = compute_dpo_loss(chosen_sums, rejected_sums, chosen_sums, rejected_sums)
print(f"loss: {loss.item():.4f}")
print(f"corrected, a batch of two pairs: {passes(math.isfinite(loss.item()))}")

# %% [exercise-4-1-check]
h = torch.tensor((-10.0) - (-12.0) - ((-13.0) - (-9.0)))
not_yet("ipoLoss(-10, -12, -13, -9, 0.1)", 0, ((h - 1 / (2 * 0.1)) ** 2).item(), "h is 6, and IPO wants 5")

# %% [exercise-4-2-check]
wanted = torch.logit(torch.tensor(0.9, dtype=torch.float64)).item() / 0.1
not_yet("hFor(0.9, 0.1)", 0, wanted, "β h = ln 9")
