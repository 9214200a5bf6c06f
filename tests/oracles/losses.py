"""Makes tests/fixtures/losses.json: arguments of each loss, its results and gradients.

    .alignbook/oracles/bin/python tests/oracles/losses.py

Arguments are float32 numbers, everything after them is float64, by PyTorch's autograd and, where it has the function,
TRL: selective_log_softmax, entropy_from_logits, CPO's loss, which on log-ratios is conservative DPO, and the reward trainer's. The masked
statistics and PPO's losses follow TRL 1.12, the last to have a PPO trainer. Running it again gives the same bytes.

A gradient `grad.x` is that of sum(weight * result) with respect to x, `weight` being random unless the result is a scalar.
"""

import json
import os
import random
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import torch
import torch.nn.functional as F
from trl import RewardTrainer
from trl.experimental.cpo import CPOTrainer
from trl.trainer.utils import entropy_from_logits, selective_log_softmax

OUT = Path(os.environ.get("ORACLES_OUT", Path(__file__).resolve().parent.parent))
FIXTURES = OUT / "fixtures" / "losses.json"

# Response masks [B, T'] by where the zeros are.
MASKS = {
    "full": [[1, 1, 1, 1]],
    "right": [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]],
    "left": [[0, 0, 1, 1, 1], [0, 1, 1, 1, 1]],
    "both": [[0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], [1, 1, 1, 1, 1, 1]],
    "interior": [[1, 1, 0, 0, 1, 1], [0, 1, 0, 1, 0, 1]],
    "one": [[1]],
}

generator = random.Random(2305_18290)


def normal(*shape, scale=1.0, mean=0.0):
    """Normal numbers of at most four decimals, rounded to float32 as the library will, then float64."""
    count = torch.Size(shape).numel()
    numbers = [round(mean + scale * generator.gauss(0, 1), 4) for _ in range(count)]
    return torch.tensor(numbers, dtype=torch.float32).double().reshape(shape).requires_grad_()


def integers(high, *shape):
    count = torch.Size(shape).numel()
    return torch.tensor([generator.randrange(high) for _ in range(count)]).reshape(shape)


def gradients(result, inputs, weight=None):
    outputs = result if weight is None else (weight.detach() * result).sum()
    grads = torch.autograd.grad(outputs, list(inputs.values()), retain_graph=True)
    return {f"grad.{name}": grad for name, grad in zip(inputs, grads)}


def per_token_logps():
    for B, T, V, scale in [(1, 2, 3, 1), (2, 5, 11, 2), (3, 6, 23, 10), (2, 3, 5, 1e4)]:
        logits, ids = normal(B, T, V, scale=scale), integers(V, B, T)
        weight = normal(B, T - 1)
        logps = selective_log_softmax(logits[:, :-1], ids[:, 1:])
        yield dict(logits=logits, inputIds=ids, weight=weight, logps=logps, **gradients(logps, dict(logits=logits), weight))


def response_logps():
    for name, rows in MASKS.items():
        mask = torch.tensor([[0, *row] for row in rows])  # the first token is never scored
        token_logps, weight = normal(*mask[:, 1:].shape, mean=-3), normal(len(mask))
        logps = torch.stack([row[selected == 1].sum() for row, selected in zip(token_logps, mask[:, 1:])])
        mean_logps = torch.stack([row[selected == 1].mean() for row, selected in zip(token_logps, mask[:, 1:])])
        inputs = dict(tokenLogps=token_logps)
        mean_gradient = gradients(mean_logps, inputs, weight)["grad.tokenLogps"]
        yield dict(
            name=name, responseMask=mask, tokenLogps=token_logps, weight=weight, logps=logps, meanLogps=mean_logps,
            meanGrad=mean_gradient, **gradients(logps, inputs, weight),
        )  # fmt: skip


def dpo():
    # The last two: a policy 1e4 nats away on one side or the other, and pairs on which policy and reference agree.
    cases = [(1, 1, 0.1, 0), (4, 5, 0.1, 0), (5, 20, 0.5, 0.1), (3, 20, 0.01, 0.3), (4, 1e4, 0.1, 0.2), (4, 1e4, 1, 0), (2, 0, 0.1, 0)]
    for B, distance, beta, smoothing in cases:
        ref_chosen, ref_rejected = normal(B, scale=9, mean=-40), normal(B, scale=9, mean=-40)
        chosen, rejected = ref_chosen.detach().clone(), ref_rejected.detach().clone()
        with torch.no_grad():
            chosen += normal(B, scale=distance)
            rejected += normal(B, scale=distance)
        chosen, rejected = (x.float().double().requires_grad_() for x in (chosen, rejected))
        settings = SimpleNamespace(
            alpha=0.0, beta=beta, label_smoothing=smoothing, loss_type="sigmoid", accelerator=SimpleNamespace(device="cpu")
        )
        losses, chosen_rewards, rejected_rewards = CPOTrainer.cpo_loss(
            settings, chosen - ref_chosen.detach(), rejected - ref_rejected.detach()
        )
        weight = normal(B)
        yield dict(
            beta=beta, labelSmoothing=smoothing, policyChosenLogps=chosen, policyRejectedLogps=rejected,
            refChosenLogps=ref_chosen, refRejectedLogps=ref_rejected, weight=weight,
            losses=losses, chosenRewards=chosen_rewards, rejectedRewards=rejected_rewards,
            **gradients(losses, dict(policyChosenLogps=chosen, policyRejectedLogps=rejected), weight),
        )  # fmt: skip


def reward():
    for B, scale in [(1, 1), (6, 3), (4, 1e4)]:
        chosen, rejected, weight = normal(B, scale=scale), normal(B, scale=scale), normal(B)
        losses = -F.logsigmoid(chosen - rejected)
        inputs = dict(chosenScores=chosen, rejectedScores=rejected)
        yield dict(**inputs, weight=weight, losses=losses, **gradients(losses, inputs, weight))


def token_rewards():
    for (name, rows), kl_coef in zip(MASKS.items(), [0.05, 0.05, 0.2, 0.1, 0, 1]):
        mask = torch.tensor(rows)
        logps, ref_logps = normal(*mask.shape, mean=-3), normal(*mask.shape, mean=-3)
        scores = normal(len(mask))
        rewards = torch.zeros(mask.shape, dtype=torch.float64)
        for b, row in enumerate(mask):
            for t in row.nonzero()[:, 0]:
                rewards[b, t] = -kl_coef * (logps[b, t] - ref_logps[b, t])
            rewards[b, row.nonzero()[-1, 0]] += scores[b]
        yield dict(name=name, klCoef=kl_coef, responseMask=mask, logps=logps, refLogps=ref_logps, scores=scores, rewards=rewards)


def gae():
    """By the definition, Eq. 16 of arXiv 1506.02438: a sum over all later steps, not the recursion."""
    for (name, rows), gamma, lam in zip(MASKS.items(), [1, 1, 0.9, 0.99, 1, 1], [0.95, 0.95, 0.5, 0, 1, 0.95]):
        mask = torch.tensor(rows)
        rewards, values = normal(*mask.shape), normal(*mask.shape)
        advantages = torch.zeros(mask.shape, dtype=torch.float64)
        for b, row in enumerate(mask):
            steps = row.nonzero()[:, 0]
            r, v = rewards[b, steps], values[b, steps]
            delta = r + gamma * torch.cat([v[1:], v.new_zeros(1)]) - v
            for t in range(len(steps)):
                advantages[b, steps[t]] = sum((gamma * lam) ** (later - t) * delta[later] for later in range(t, len(steps)))
        returns = advantages + values * mask
        yield dict(
            name=name, gamma=gamma, gaeLambda=lam, responseMask=mask, rewards=rewards, values=values,
            advantages=advantages, returns=returns,
        )  # fmt: skip


def masked_mean(values, mask):
    return (values * mask).sum() / mask.sum()


def masked_variance(values, mask, unbiased=True):
    variance = masked_mean((values - masked_mean(values, mask)) ** 2, mask)
    return variance * mask.sum() / (mask.sum() - 1) if unbiased else variance


def masked_whiten(values, mask, shift_mean, unbiased):
    mean, variance = masked_mean(values, mask), masked_variance(values, mask, unbiased)
    whitened = (values - mean) * torch.rsqrt(variance + 1e-8)
    return (whitened if shift_mean else whitened + mean) * mask


def masked_statistics():
    for name in ["full", "right", "both", "interior"]:
        mask = torch.tensor(MASKS[name])
        x, weight = normal(*mask.shape, mean=2), normal(*mask.shape)
        case = dict(name=name, mask=mask, x=x, weight=weight)
        mean, variance = masked_mean(x, mask), masked_variance(x, mask)
        case |= dict(mean=mean, variance=variance, biasedVariance=masked_variance(x, mask, unbiased=False))
        case |= dict(meanGrad=gradients(mean, dict(x=x))["grad.x"], varianceGrad=gradients(variance, dict(x=x))["grad.x"])
        case["whitened"] = []
        for shift_mean in [True, False]:
            for unbiased in [True, False]:
                result = masked_whiten(x, mask, shift_mean, unbiased)
                grad = gradients(result, dict(x=x), weight)["grad.x"]
                case["whitened"].append(dict(shiftMean=shift_mean, unbiased=unbiased, result=result, grad=grad))
        yield case


def kl():
    for shape, distance in [((1,), 1), ((3, 4), 1), ((2, 3), 1e-3), ((2, 5), 8)]:
        logps, weight = normal(*shape, mean=-3), normal(*shape)
        ref_logps = (logps - normal(*shape, scale=distance)).detach().float().double().requires_grad_()
        x = logps - ref_logps
        case = dict(logps=logps, refLogps=ref_logps, weight=weight)
        for name, estimate in dict(k1=x, k2=x**2 / 2, k3=torch.expm1(-x) + x).items():
            case[name] = dict(value=estimate, **gradients(estimate, dict(logps=logps, refLogps=ref_logps), weight))
        yield case


def ppo():
    for (name, rows), clip in zip(MASKS.items(), [0.2, 0.2, 0.1, 0.2, 0.3, 0.2]):
        mask = torch.tensor(rows)
        old, advantages = normal(*mask.shape, mean=-3), normal(*mask.shape)
        logps = (old + normal(*mask.shape, scale=0.4)).detach().float().double().requires_grad_()
        ratio = torch.exp(logps - old)
        unclipped, clipped = -advantages * ratio, -advantages * torch.clamp(ratio, 1 - clip, 1 + clip)
        loss = masked_mean(torch.max(unclipped, clipped), mask)
        yield dict(
            name=name, clipRange=clip, responseMask=mask, logps=logps, oldLogps=old, advantages=advantages,
            loss=loss, ratio=torch.where(mask == 1, ratio, 1), clipFraction=masked_mean((clipped > unclipped).double(), mask),
            approxKl=masked_mean((logps - old) ** 2 / 2, mask), **gradients(loss, dict(logps=logps)),
        )  # fmt: skip


def value():
    for (name, rows), clip in zip(MASKS.items(), [0.2, 0.2, 0.5, 0.2, 0.1, 0.2]):
        mask = torch.tensor(rows)
        old, returns = normal(*mask.shape), normal(*mask.shape)
        values = (old + normal(*mask.shape, scale=0.4)).detach().float().double().requires_grad_()
        clipped_values = torch.clamp(values, old - clip, old + clip)
        unclipped, clipped = (values - returns) ** 2, (clipped_values - returns) ** 2
        loss = 0.5 * masked_mean(torch.max(unclipped, clipped), mask)
        yield dict(
            name=name, valueClipRange=clip, responseMask=mask, values=values, oldValues=old, returns=returns,
            loss=loss, clipFraction=masked_mean((clipped > unclipped).double(), mask), **gradients(loss, dict(values=values)),
        )  # fmt: skip


def entropy():
    for shape, scale in [((3,), 1), ((4, 5), 3), ((2, 3, 7), 1), ((2, 2, 6), 1e4)]:
        logits, weight = normal(*shape, scale=scale), normal(*shape[:-1])
        result = entropy_from_logits(logits.reshape(-1, shape[-1])).reshape(shape[:-1])
        yield dict(logits=logits, weight=weight, entropy=result, **gradients(result, dict(logits=logits), weight))


def plain(value):
    """Tensors as nested lists; nine significant digits, more than float32 has, and no minus before zero."""
    if isinstance(value, torch.Tensor):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.9g}") + 0.0
    return value


def trl_reward_loss(chosen, rejected, margin, center_rewards):
    """TRL's trainer on one pair, given the scores: its compute_loss is a mean over pairs, and logs on the way."""
    accelerator = SimpleNamespace(gather=lambda x: x, gather_for_metrics=lambda x: x)
    trainer = SimpleNamespace(
        args=SimpleNamespace(center_rewards_coefficient=center_rewards), accelerator=accelerator, model=SimpleNamespace(training=False),
        _total_train_tokens=0, _metrics={"eval": defaultdict(list)},
    )  # fmt: skip
    model = lambda **_: SimpleNamespace(logits=torch.stack([chosen, rejected])[:, None])
    return RewardTrainer.compute_loss(trainer, model, {} if margin is None else {"margin": margin[None]})


def reward_options():
    for B, scale, margins, center_rewards in [(3, 1, True, None), (4, 3, False, 0.01), (5, 2, True, 0.3), (3, 1e3, True, 0.01)]:
        chosen, rejected, weight = normal(B, scale=scale), normal(B, scale=scale), normal(B)
        margin = normal(B, mean=1).detach() if margins else None
        losses = torch.stack([trl_reward_loss(chosen[n], rejected[n], None if margin is None else margin[n], center_rewards) for n in range(B)])
        inputs = dict(chosenScores=chosen, rejectedScores=rejected)
        options = dict(centerRewards=center_rewards or 0.0, **({} if margin is None else dict(margins=margin)))
        yield dict(**inputs, **options, weight=weight, losses=losses, **gradients(losses, inputs, weight))


LOSSES = [per_token_logps, response_logps, dpo, reward, token_rewards, gae, masked_statistics, kl, ppo, value, entropy, reward_options]

if __name__ == "__main__":
    sections = []
    for cases in LOSSES:
        lines = ",\n".join(json.dumps(plain(case), separators=(",", ":")) for case in cases())
        sections.append(f'"{cases.__name__}": [\n{lines}\n]')
    FIXTURES.parent.mkdir(exist_ok=True)
    FIXTURES.write_text("{\n" + ",\n".join(sections) + "\n}\n")
