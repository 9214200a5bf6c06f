"""Makes tests/fixtures/ppo_step.json: PPO on one rollout of fixed responses, written out in float64.

    .alignbook/oracles/bin/python tests/oracles/ppo_step.py

The policy is a-group of tests/fixtures/engine; the value head is a linear layer on its final, layer-normed hidden
states, so that both share the trunk. The value of a response's token is read at the position that predicts it, as in
TRL, and is not divided by the temperature; logits are, for old, new and reference log-probs alike. In order, after
arXiv 1707.06347, 1909.08593 and TRL 1.12:

    rewards          -klCoef (oldLogps - refLogps), the score added on the response's last token
    whitenedRewards  divided by their deviation over all tokens of the rollout; the mean is left where it was
    rawAdvantages    generalized advantage estimation on them; the value after the last token is 0
    returns          rawAdvantages + oldValues
    advantages       rawAdvantages, whitened over all tokens of the rollout

and for each minibatch of `order` (one list of rows an update, epoch after epoch), means being over its tokens:

    policy loss + valueCoef * value loss, clipped by clip_grad_norm_, AdamW with decay on matrices (v_head.weight is
    one)

`clipFraction` is the share of tokens whose clipped term is the larger; `ratioVariance` has Bessel's correction. Weights
and gradients are flattened float32; `first` and `last` hold the gradients of those updates before clipping.

ppo_trl.py holds the same functions to TRL's own PPOTrainer.
"""

import json
import os
from pathlib import Path

import torch
from training import groups, model_of
from trl.trainer.utils import entropy_from_logits, selective_log_softmax

OUT = Path(os.environ.get("ORACLES_OUT", Path(__file__).resolve().parent.parent))
EOS = 0
OPTIONS = {
    "temperature": 0.7,
    "klCoef": 0.05,
    "gamma": 1.0,
    "gaeLambda": 0.95,
    "clipRange": 0.2,
    "valueClipRange": 0.2,
    "valueCoef": 0.1,
    "lr": 2e-3,
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-5,
    "weightDecay": 0.01,
    "maxGradNorm": 1.0,
}
PROMPTS = [4, 2, 6, 3, 5, 1]
RESPONSES = [5, 1, 8, 3, 6, 2]
ENDED = [True, False, False, True, True, True]
ORDER = [[4, 0, 2], [1, 5, 3], [3, 2, 1], [0, 5, 4], [2, 4, 5], [3, 1, 0]]


class Policy(torch.nn.Module):
    def __init__(self, model, weight, bias):
        super().__init__()
        self.model = model
        self.v_head = torch.nn.Linear(len(weight), 1)
        with torch.no_grad():
            self.v_head.weight.copy_(torch.tensor([weight]))
            self.v_head.bias.copy_(torch.tensor(bias))

    def forward(self, row, temperature):
        """Of each token of the response: its log-prob, its value, and the entropy of the distribution that it came
        from."""
        prompt, response = row["promptIds"], torch.tensor(row["responseIds"])
        hidden = self.model.transformer(torch.tensor([prompt + row["responseIds"]])).last_hidden_state[
            0, len(prompt) - 1 : -1
        ]
        distribution = torch.log_softmax(self.model.lm_head(hidden) / temperature, -1)
        entropy = -(distribution.exp() * distribution).sum(-1)
        return distribution.gather(1, response[:, None])[:, 0], self.v_head(hidden)[:, 0], entropy

    def named(self):
        parameters = {name.removeprefix("model.transformer."): weight for name, weight in self.named_parameters()}
        return {name: parameters[name] for name in sorted(parameters)}


def scripted():
    generator = torch.Generator().manual_seed(31)
    ids = lambda length: torch.randint(1, 37, (length,), generator=generator).tolist()
    numbers = lambda count, scale: [round(scale * x, 4) for x in torch.randn(count, generator=generator).tolist()]
    rows = []
    for prompt, response, ended, score in zip(PROMPTS, RESPONSES, ENDED, numbers(len(PROMPTS), 1.5)):
        response_ids = ids(response - ended) + [EOS] * ended
        rows.append({"promptIds": ids(prompt), "responseIds": response_ids, "score": score})
    return rows, {"weight": numbers(16, 0.2), "bias": numbers(1, 0.5)}, [numbers(length, 0.4) for length in RESPONSES]


def mean(x, mask):
    return (x * mask).sum() / mask.sum()


def whiten(x, mask, shift_mean=True):
    centred = x - mean(x, mask)
    variance = mean(centred**2, mask) * mask.sum() / (mask.sum() - 1)
    whitened = centred * torch.rsqrt(variance + 1e-8)
    return (whitened if shift_mean else whitened + mean(x, mask)) * mask


def token_rewards(rows, logps, ref_logps, coef):
    rewards = [-coef * (logp - ref) for logp, ref in zip(logps, ref_logps)]
    for row, reward in zip(rows, rewards):
        reward[-1] += row["score"]
    return rewards


def whiten_rows(values, **options):
    """Of a list of tensors, over all of them together."""
    joined = torch.cat(values)
    return torch.split(whiten(joined, torch.ones_like(joined), **options), [len(value) for value in values])


def gae(rewards, values, gamma, lam):
    """The definition, Eq. 16 of arXiv 1506.02438: a sum over all later steps, not the recursion."""
    advantages = []
    for r, v in zip(rewards, values):
        delta = r + gamma * torch.cat([v[1:], v.new_zeros(1)]) - v
        powers = (gamma * lam) ** torch.arange(len(r), dtype=r.dtype)
        advantages.append(torch.stack([(powers[: len(r) - t] * delta[t:]).sum() for t in range(len(r))]))
    return advantages


def rollout(policy, rows, ref_logps_of, options):
    """All that is computed before the first update; `ref_logps_of` is asked with old log-probs."""
    with torch.no_grad():
        outputs = [policy(row, options["temperature"]) for row in rows]
    old_logps, old_values, entropies = zip(*outputs)
    ref_logps = ref_logps_of(old_logps)
    rewards = token_rewards(rows, old_logps, ref_logps, options["klCoef"])
    whitened = whiten_rows(rewards, shift_mean=False)
    raw = gae(whitened, old_values, options["gamma"], options["gaeLambda"])
    returns = [a + v for a, v in zip(raw, old_values)]
    kl = torch.stack([(old - ref).sum() for old, ref in zip(old_logps, ref_logps)]).mean()
    scores = torch.tensor([row["score"] for row in rows], dtype=torch.float64).mean()
    objective = {
        "kl": kl,
        "entropy": torch.stack([-logp.sum() for logp in old_logps]).mean(),
        "nonScoreReward": -options["klCoef"] * kl,
        "rlhfReward": scores - options["klCoef"] * kl,
        "scores": scores,
    }
    explained = 1 - (torch.cat(returns) - torch.cat(old_values)).var() / torch.cat(returns).var()
    return {
        "oldLogps": old_logps,
        "oldValues": old_values,
        "oldEntropies": entropies,
        "refLogps": ref_logps,
        "rewards": rewards,
        "whitenedRewards": whitened,
        "rawAdvantages": raw,
        "returns": returns,
        "advantages": whiten_rows(raw),
        "objective": objective,
        "explainedVariance": explained,
    }


def update(policy, optimizer, rows, made, batch, options):
    """One step on some of the rows: what is logged of it, and the gradients before they are clipped."""
    logps, values, entropies = map(torch.cat, zip(*[policy(rows[row], options["temperature"]) for row in batch]))
    old_logps, old_values, returns, advantages = (
        torch.cat([made[key][row] for row in batch]) for key in ("oldLogps", "oldValues", "returns", "advantages")
    )

    ratio = torch.exp(logps - old_logps)
    unclipped, clipped = (
        -advantages * ratio,
        -advantages * ratio.clamp(1 - options["clipRange"], 1 + options["clipRange"]),
    )
    policy_loss = torch.maximum(unclipped, clipped).mean()

    clipped_values = values.clamp(old_values - options["valueClipRange"], old_values + options["valueClipRange"])
    errors, clipped_errors = (values - returns) ** 2, (clipped_values - returns) ** 2
    value_loss = 0.5 * torch.maximum(errors, clipped_errors).mean()

    loss = policy_loss + options["valueCoef"] * value_loss
    optimizer.zero_grad()
    loss.backward()
    gradients = {name: weight.grad.flatten().clone() for name, weight in policy.named().items()}
    grad_norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), options["maxGradNorm"])
    optimizer.step()
    step = {
        "rows": batch,
        "loss": loss,
        "policyLoss": policy_loss,
        "valueLoss": value_loss,
        "clipFraction": (clipped > unclipped).double().mean(),
        "valueClipFraction": (clipped_errors > errors).double().mean(),
        "approxKl": ((logps - old_logps) ** 2 / 2).mean(),
        "ratioMean": ratio.mean(),
        "ratioVariance": ratio.var(),
        "entropy": entropies.mean(),
        "gradNorm": grad_norm,
        "logps": logps,
        "values": values,
    }
    # Nothing lies so near an edge that float32 would fall on its other side.
    edges = torch.cat(
        [(ratio - 1).abs() - options["clipRange"], (values - old_values).abs() - options["valueClipRange"]]
    )
    assert edges.abs().min() > 1e-4
    return plain(step), gradients


def optimizer_of(policy, options):
    return torch.optim.AdamW(
        groups(policy, options["weightDecay"]),
        lr=options["lr"],
        betas=(options["beta1"], options["beta2"]),
        eps=options["epsilon"],
    )


def plain(value):
    if isinstance(value, torch.Tensor):
        return plain(value.detach().tolist())
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return float(f"{value:.10g}") if isinstance(value, float) else value


def floats(tensors):
    return {
        name: [float(f"{x:.9g}") for x in tensor.detach().float().flatten().tolist()]
        for name, tensor in tensors.items()
    }


def moved(logps, offsets):
    return [(logp + torch.tensor(offset)).clamp(max=-0.01).round(decimals=4) for logp, offset in zip(logps, offsets)]


def check_pieces(policy, rows, made, temperature):
    """Log-probs and entropies by TRL's functions, on all rows in one batch padded on the right."""
    sequences = [row["promptIds"] + row["responseIds"] for row in rows]
    longest = max(map(len, sequences))
    ids = torch.tensor([sequence + [EOS] * (longest - len(sequence)) for sequence in sequences])
    mask = torch.tensor([[1] * len(sequence) + [0] * (longest - len(sequence)) for sequence in sequences])
    with torch.no_grad():
        logits = policy.model(ids, attention_mask=mask).logits / temperature
    logps, entropies = selective_log_softmax(logits[:, :-1], ids[:, 1:]), entropy_from_logits(logits)
    for n, row in enumerate(rows):
        scored = slice(len(row["promptIds"]) - 1, len(sequences[n]) - 1)
        torch.testing.assert_close(logps[n, scored], made["oldLogps"][n], rtol=0, atol=1e-12)
        torch.testing.assert_close(entropies[n, scored], made["oldEntropies"][n], rtol=0, atol=1e-12)


def main():
    rows, head, ref_offsets = scripted()
    policy = Policy(model_of("a-group"), head["weight"], head["bias"]).double()
    made = rollout(policy, rows, lambda logps: moved(logps, ref_offsets), OPTIONS)
    check_pieces(policy, rows, made, OPTIONS["temperature"])
    optimizer = optimizer_of(policy, OPTIONS)
    updates, gradients = zip(*[update(policy, optimizer, rows, made, batch, OPTIONS) for batch in ORDER])
    for what in ("clipFraction", "valueClipFraction"):
        assert any(step[what] > 0 for step in updates)
    assert any(step["gradNorm"] > OPTIONS["maxGradNorm"] for step in updates) and any(
        step["gradNorm"] < OPTIONS["maxGradNorm"] for step in updates
    )
    fixture = {
        "model": "a-group",
        "options": OPTIONS,
        "rows": rows,
        "vHead": head,
        **plain(made),
        "order": ORDER,
        "updates": updates,
        "gradients": {"first": floats(gradients[0]), "last": floats(gradients[-1])},
        "weights": floats(policy.named()),
    }
    (OUT / "fixtures" / "ppo_step.json").write_text(json.dumps(fixture) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
