"""The Python twin of notebooks/05-ppo-loss.ipynb."""


# %% [ppo-1]
def compute_ppo_loss(
    policy_logits,
    policy_actions,
    policy_log_probs,
    reference_logits,
    reference_actions,
    reference_log_probs,
    advantages,
    clip_range=0.2,
):
    policy_log_probs = F.log_softmax(policy_logits, dim=-1)[range(policy_actions.size(0)), policy_actions]
    reference_log_probs = F.log_softmax(reference_logits, dim=-1)[range(reference_actions.size(0)), reference_actions]
    policy_ratio = torch.exp(policy_log_probs - policy_log_probs.detach())
    reference_ratio = torch.exp(reference_log_probs - reference_log_probs.detach())
    surr1 = policy_ratio * advantages
    surr2 = torch.clamp(policy_ratio, 1 - clip_range, 1 + clip_range) * advantages
    loss = -torch.min(surr1, surr2).mean()
    return loss


# %% [ppo-2]
def compute_advantages(policy_actions, reference_actions):
    policy_rewards = compute_rewards(policy_actions)
    reference_rewards = compute_rewards(reference_actions)
    advantages = policy_rewards - reference_rewards
    return advantages


# %% [ppo-3]
def compute_rewards(actions):
    rewards = []
    for action in actions:
        reward = get_reward(action)
        rewards.append(reward)
    return torch.tensor(rewards, device=actions.device)


def get_reward(action):
    if action == 0:
        return 1.0
    else:
        return -1.0


# %% [call]
policy_logits = torch.tensor([[1.0, 2.0, 1.0, 1.0], [0.5, -0.2, 0.3, 1.0], [2.0, 0.0, 0.0, 1.0]])
reference_logits = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.4, 0.1, 0.3, 0.9], [1.5, 0.2, 0.1, 1.0]])
policy_actions = torch.tensor([0, 3, 0])
reference_actions = torch.tensor([1, 0, 2])
policy_log_probs = F.log_softmax(policy_logits, -1)[range(3), policy_actions]
reference_log_probs = F.log_softmax(reference_logits, -1)[range(3), reference_actions]

advantages = compute_advantages(policy_actions, reference_actions)
loss = compute_ppo_loss(
    policy_logits,
    policy_actions,
    policy_log_probs,
    reference_logits,
    reference_actions,
    reference_log_probs,
    advantages,
)
print(f"rewards: {' '.join(str(int(reward)) for reward in compute_rewards(policy_actions).tolist())}")
print(f"advantages: {' '.join(str(int(advantage)) for advantage in advantages.tolist())}")
print(f"loss: {loss.item():.4f}")

# %% [ratio-gradient]
sampled_from = torch.tensor([[1.0, 2.0, 1.0, 1.0]], requires_grad=True)
action, advantage = torch.tensor([1]), torch.tensor([1.0])
loss = compute_ppo_loss(sampled_from, action, None, sampled_from.detach(), action, None, advantage)
loss.backward()
print(f"loss: {loss.item():.4f}")
print(f"gradient: {' '.join(f'{g:.4f}' for g in sampled_from.grad[0].tolist())}")

# %% [ratio-published]
moved = torch.tensor([[1.0, 4.0, 1.0, 1.0]])
before = compute_ppo_loss(sampled_from.detach(), action, None, moved, action, None, advantage).item()
after = compute_ppo_loss(moved, action, None, moved, action, None, advantage).item()
print(f"before the policy moves {before:.4f}, after {after:.4f}")
print(f"published, the loss sees that the policy moved: {passes(abs(before - after) > 1e-4)}")

# %% [ratio-by-hand]
old_logp = F.log_softmax(sampled_from.detach(), -1)[0, 1]
new_logp = F.log_softmax(moved, -1)[0, 1]
ratio = torch.exp(new_logp - old_logp)
loss = -torch.min(ratio * 1.0, ratio.clamp(0.8, 1.2) * 1.0)
print(f"by hand: ratio {ratio.item():.4f}, loss {loss.item():.4f}")

# %% [ratio-corrected]
print(f"ratio {ratio.item():.4f}, clipped on {float(ratio > 1.2):.0f} of 1 tokens, loss {loss.item():.4f}")
print(f"corrected, the loss sees that the policy moved: {passes(abs(loss.item() + 1) > 1e-4)}")

# %% [kl-published]
here = compute_ppo_loss(
    policy_logits, policy_actions, None, reference_logits, reference_actions, None, advantages
).item()
elsewhere = compute_ppo_loss(
    policy_logits, policy_actions, None, -reference_logits, reference_actions, None, advantages
).item()
print(f"one reference {here:.4f}, another {elsewhere:.4f}")
print(f"published, drifting from the reference costs something: {passes(abs(here - elsewhere) > 1e-4)}")

# %% [kl-by-hand]
token_logps = torch.tensor([[-1.0, -2.0, -0.5]])
ref_token_logps = torch.tensor([[-1.2, -1.5, -0.7]])
token_rewards = -0.05 * (token_logps - ref_token_logps)
token_rewards[0, -1] += 1.0
print(f"by hand: {' '.join(f'{r:.4f}' for r in token_rewards[0].tolist())}")

# %% [kl-corrected]
drift = -0.05 * (token_logps - 2 * ref_token_logps)
drift[0, -1] += 1.0
print(f"rewards: {' '.join(f'{r:.4f}' for r in token_rewards[0].tolist())}")
print(f"corrected, drifting from the reference costs something: {passes(not torch.allclose(token_rewards, drift))}")

# %% [advantages-published]
possible = {
    (compute_rewards(torch.tensor([a])) - compute_rewards(torch.tensor([b]))).item() for a in range(4) for b in range(4)
}
print(f"possible advantages: {' '.join(str(int(value)) for value in sorted(possible))}")
print(f"published, each token has an advantage of its own: {passes(len(possible) > 3)}")

# %% [gae-by-hand]
values = [0.3, 0.4, 0.6]
advantage, estimates = 0.0, []
for t in reversed(range(3)):
    following = values[t + 1] if t < 2 else 0.0
    delta = token_rewards[0, t].item() + following - values[t]
    advantage = delta + 0.95 * advantage
    estimates.insert(0, advantage)
print(f"by hand:    {' '.join(f'{a:.4f}' for a in estimates)}")

# %% [advantages-corrected]
print(f"advantages: {' '.join(f'{a:.4f}' for a in estimates)}")
print(f"corrected, each token has an advantage of its own: {passes(len({round(a, 4) for a in estimates}) == 3)}")

# %% [whiten]
whitened = torch.tensor(estimates, dtype=torch.float64)
whitened = (whitened - whitened.mean()) * torch.rsqrt(whitened.var() + 1e-8)
for form in ("by hand: ", "whiten:  "):
    print(f"{form}{' '.join(f'{a:.4f}' for a in whitened.tolist())}")

# %% [reward-published]
chosen_rewards = compute_rewards(
    tokenizer.encode("A suitable antonym for 'complicated' would be 'simple'.", return_tensors="pt")[0]
)
rejected_rewards = compute_rewards(tokenizer.encode("An antonym of 'complicated' is 'simple'.", return_tensors="pt")[0])
print(f"mean reward of chosen {chosen_rewards.mean().item():.1f}, of rejected {rejected_rewards.mean().item():.1f}")
kept = -F.logsigmoid(chosen_rewards.mean() - rejected_rewards.mean()).item()
swapped = -F.logsigmoid(rejected_rewards.mean() - chosen_rewards.mean()).item()
print(f"loss {kept:.4f}, the other way round {swapped:.4f}")
print(f"published, the loss tells the right order from the wrong one: {passes(kept < swapped)}")

# %% [reward-corrected]
right = -F.logsigmoid(torch.tensor(2.0 - 0.5)).item()
wrong = -F.logsigmoid(torch.tensor(0.5 - 2.0)).item()
print(f"chosen scores 2, rejected 0.5: loss {right:.4f}")
print(f"the other way round: {wrong:.4f}")
print(f"by hand: {right:.4f} {wrong:.4f}")
print(f"corrected, the loss tells the right order from the wrong one: {passes(right < wrong)}")

# %% [mask-published]
one_more = lambda tensor: torch.cat([tensor, tensor[:1]])
padded_loss = compute_ppo_loss(
    one_more(policy_logits),
    one_more(policy_actions),
    None,
    one_more(reference_logits),
    one_more(reference_actions),
    None,
    one_more(advantages),
).item()
print(f"three tokens {here:.4f}, and a padding token {padded_loss:.4f}")
print(f"published, padding changes nothing: {passes(abs(padded_loss - here) < 1e-6)}")


# %% [mask-by-hand]
two_ratios = torch.exp(torch.tensor([-1.0, -2.0]) - torch.tensor([-1.1, -1.9]))
two_gains = torch.tensor([1.0, -0.5])
by_hand = -torch.min(two_ratios * two_gains, two_ratios.clamp(0.8, 1.2) * two_gains).mean().item()
print(f"by hand:    {by_hand:.4f}")


# %% [mask-corrected]
def masked_ppo_loss(new, old, gain, mask):
    ratio = torch.exp(torch.tensor(new) - torch.tensor(old))
    surrogate = torch.min(ratio * torch.tensor(gain), ratio.clamp(0.8, 1.2) * torch.tensor(gain))
    return -(surrogate * torch.tensor(mask)).sum().item() / sum(mask)


short = masked_ppo_loss([-1.0, -2.0], [-1.1, -1.9], [1.0, -0.5], [1.0, 1.0])
long = masked_ppo_loss([-1.0, -2.0, -7.0], [-1.1, -1.9, -3.0], [1.0, -0.5, 9.0], [1.0, 1.0, 0.0])
print(f"two tokens {short:.4f}, and a padding token {long:.4f}")
print(f"corrected, padding changes nothing: {passes(abs(long - short) < 1e-6)}")

# %% [exercise-5-1-check]
objective = min(1.5 * 2.0, min(max(1.5, 0.8), 1.2) * 2.0)
not_yet("clippedObjective(1.5, 2, 0.2)", 0, objective, "a good token pays up to a ratio of 1.2")

# %% [exercise-5-2-check]
rewards, values = [0.0, 0.0, 1.0], [0.25, 0.5, 0.75, 0.0]
surprises = [rewards[t] + values[t + 1] - values[t] for t in range(3)]
not_yet(
    "advantagesOf([0, 0, 1], [0.25, 0.5, 0.75], 1, 0)",
    [0, 0, 0],
    surprises,
    "with gaeLambda 0 each advantage is its own surprise, delta",
)
