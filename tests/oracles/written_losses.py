"""Losses written out from where they were published, for what TRL 1.16 does not have or cannot compute."""

import mpmath
import torch
import torch.nn.functional as F

mpmath.mp.dps = 60


def eric_mitchell(inputs, beta, label_smoothing=0.0, reference_free=False):
    """preference_loss of eric-mitchell/direct-preference-optimization, trainers.py."""
    policy_logratios = inputs["policyChosenLogps"] - inputs["policyRejectedLogps"]
    reference_logratios = 0 if reference_free else inputs["refChosenLogps"] - inputs["refRejectedLogps"]
    logits = policy_logratios - reference_logratios
    return (
        -F.logsigmoid(beta * logits) * (1 - label_smoothing) - F.logsigmoid(-beta * logits) * label_smoothing
    ).mean()


SCORES = {
    "reverse_kl": lambda u, alpha: u,
    "forward_kl": lambda u, alpha: 1 - mpmath.exp(-u),
    "js": lambda u, alpha: mpmath.log(2) - mpmath.log1p(mpmath.exp(-u)),
    "alpha": lambda u, alpha: (1 - mpmath.exp(-alpha * u)) / alpha,
}


def discopop(inputs, beta, discopopTau=0.05, divergence="reverse_kl", divergenceAlpha=0.5):
    """Eq. 5 of arXiv 2406.08414 at 60 digits -> losses, and gradients of the two log-probs."""
    beta, tau, alpha = (mpmath.mpf(x) for x in (beta, discopopTau, divergenceAlpha))

    def loss(chosen, rejected):
        z = beta * (SCORES[divergence](chosen, alpha) - SCORES[divergence](rejected, alpha))
        m = 1 / (1 + mpmath.exp(-z / tau))
        return (1 - m) * mpmath.log1p(mpmath.exp(-z)) + m * mpmath.exp(-z)

    sides = ((inputs[f"policy{side}Logps"] - inputs[f"ref{side}Logps"]).tolist() for side in ("Chosen", "Rejected"))
    log_ratios = [(mpmath.mpf(chosen), mpmath.mpf(rejected)) for chosen, rejected in zip(*sides)]
    of = lambda function: torch.tensor([float(function(*each)) for each in log_ratios])
    return of(loss), [of(lambda *u: mpmath.diff(loss, u, order)) for order in ((1, 0), (0, 1))]
