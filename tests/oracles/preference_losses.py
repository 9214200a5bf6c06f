"""Makes tests/fixtures/preferenceLosses.json: batches of pairs, the losses on them, and gradients.

    .alignbook/oracles/bin/python tests/oracles/preference_losses.py

Arguments are float32 numbers, everything after them is float64. Every number is that of TRL 1.16's own code
(trl_losses.py calls it):

    DPOTrainer._compute_loss           all but the following; f-divergences, ld_alpha, use_weighting (WPO), lists of
                                       losses
    CPOTrainer.get_batch_loss_metrics  cpo, simpo (it calls cpo_loss)
    ORPOTrainer.get_batch_loss_metrics orpo (it calls odds_ratio_loss)
    KTOTrainer._compute_loss           kto

but for these (written_losses.py): cdpo and reference-free, which TRL has no more, by eric-mitchell's preference_loss;
discopop where TRL's is NaN, in mpmath. The sum of squared probabilities (TRL's is a Triton kernel) is by PyTorch's
softmax.

TRL gives the mean over a batch. `losses` are those of each pair, from TRL on that pair alone; where the pairs of a
batch depend on one another (aot, and the mean over tokens in sft, cpo, orpo) there is `mean` instead. Gradients
`grad.x` are those of the sum over the batch. Running it again gives the same bytes.
"""

import json
import os
from functools import partial
from pathlib import Path

import torch
from losses import gradients, normal, plain
from trl_losses import Model, completion_mask, trl_cpo, trl_dpo, trl_kto, trl_orpo
from written_losses import discopop, eric_mitchell

OUT = Path(os.environ.get("ORACLES_OUT", Path(__file__).resolve().parent.parent))
FIXTURES = OUT / "fixtures" / "preferenceLosses.json"
POLICY = ["policyChosenLogps", "policyRejectedLogps"]
FAR = 10_000


def tensor(numbers):
    return torch.tensor(numbers, dtype=torch.float32).double().requires_grad_()


def moved(reference, distance):
    """Log-probs about `distance` from the reference's, and below 0."""
    return (
        (reference + normal(len(reference), scale=distance)).detach().clamp(max=-1e-3).float().double().requires_grad_()
    )


def batch(name, beta, chosen, rejected, ref_chosen, ref_rejected, lengths):
    logps = dict(
        policyChosenLogps=chosen,
        policyRejectedLogps=rejected,
        refChosenLogps=ref_chosen.detach(),
        refRejectedLogps=ref_rejected.detach(),
    )
    chosen_lengths, rejected_lengths = (torch.tensor(each) for each in lengths)
    return dict(
        name=name, beta=beta, inputs=logps | dict(chosenLengths=chosen_lengths, rejectedLengths=rejected_lengths)
    )


def batches():
    for name, beta, distance, lengths in [
        ("one pair", 0.1, 5, ([7], [4])),
        ("near", 0.05, 5, ([3, 12, 9, 1], [8, 2, 9, 5])),
        ("farther", 0.5, 20, ([6, 1, 30, 11, 4], [1, 14, 3, 25, 4])),
    ]:
        reference = [normal(len(each), scale=9, mean=-40) for each in lengths]
        yield batch(name, beta, *(moved(each, distance) for each in reference), *reference, lengths)

    ones = ([1, 1, 1], [1, 1, 1])
    chosen, rejected, ref_chosen, ref_rejected = (
        tensor([-1e-5, -3.25, -0.75]),
        tensor([-2.5, -0.0625, -1e-6]),
        normal(3, mean=-5),
        normal(3, mean=-5),
    )
    yield batch("length 1", 0.1, chosen, rejected, ref_chosen, ref_rejected, ones)

    # Each log-ratio 1e4 nats away on either side, alone and together; the reference at -2e4 keeps log-probs below 0.
    directions = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, -1), (-1, 1)]
    reference = tensor([-2.0 * FAR] * len(directions))
    chosen, rejected = (tensor([-2.0 * FAR + FAR * side[which] for side in directions]) for which in (0, 1))
    lengths = ([1, 1, 40, 3, 100, 7], [1, 60, 1, 3, 80, 7])
    for beta in (0.1, 0.5):
        yield batch("far", beta, chosen, rejected, reference, reference, lengths)

    chosen, rejected = normal(3, scale=9, mean=-40), normal(3, scale=9, mean=-40)
    yield batch("start", 0.1, chosen, rejected, chosen, rejected, ([4, 9, 1], [7, 2, 1]))
    policy, reference = normal(2, scale=9, mean=-40), normal(2, scale=9, mean=-40)
    yield batch(
        "identical", 0.1, policy, policy.detach().clone().requires_grad_(), reference, reference, ([5, 8], [5, 8])
    )


def loss_function(loss, beta, **options):
    """The loss of this name and these options as a function of a batch, by whoever is its oracle."""
    smoothing = options.get("labelSmoothing", 0.0)
    if loss == "cdpo":
        return partial(eric_mitchell, beta=beta, label_smoothing=smoothing)
    if loss == "orpo":
        return partial(trl_orpo, beta=beta)
    if loss == "cpo":
        return partial(trl_cpo, loss_type="sigmoid", beta=beta, label_smoothing=smoothing, cpo_alpha=options["nllCoef"])
    if loss == "simpo":
        return partial(
            trl_cpo,
            loss_type="simpo",
            beta=beta,
            label_smoothing=smoothing,
            simpo_gamma=options["gamma"],
            cpo_alpha=0.0,
        )
    divergence = dict(js="js_divergence", alpha="alpha_divergence").get(
        options.get("divergence"), options.get("divergence", "reverse_kl")
    )
    return partial(
        trl_dpo,
        loss_types=[loss],
        beta=beta,
        label_smoothing=smoothing,
        discopop_tau=options.get("discopopTau", 0.05),
        f_divergence_type=divergence,
        f_alpha_divergence_coef=1 - options.get("divergenceAlpha", 0.5),
    )


def result(inputs, loss, options, function, whole=False):
    """`whole`: the losses of a batch depend on one another."""
    policy = {name: inputs[name] for name in POLICY}
    pairs = len(inputs["chosenLengths"])
    if whole:
        mean = function(inputs)
        values, total = dict(mean=mean), pairs * mean
    else:
        each = [function({name: x[i : i + 1] for name, x in inputs.items()}) for i in range(pairs)]
        values, total = dict(losses=torch.stack(each)), sum(each)
    grads = torch.autograd.grad(total, list(policy.values()), allow_unused=True)
    grads = [torch.zeros(pairs) if grad is None else grad for grad in grads]
    if not all(torch.isfinite(x).all() for x in (*values.values(), *grads)):
        assert loss == "discopop", f"{loss} is not finite in TRL"
        values["losses"], grads = discopop(inputs, **options)
    return dict(loss=loss, options=options, **values, **{f"grad.{name}": grad for name, grad in zip(policy, grads)})


# Options besides beta. sft takes no beta.
LOSSES = [
    ("sigmoid", {}), ("cdpo", dict(labelSmoothing=0.1)), ("cdpo", dict(labelSmoothing=0.3)),
    ("robust", dict(labelSmoothing=0.1)), ("robust", dict(labelSmoothing=0.3)), ("robust", dict(labelSmoothing=0.0)),
    ("hinge", {}), ("exo_pair", dict(labelSmoothing=1e-3)), ("exo_pair", dict(labelSmoothing=0.2)),
    ("discopop", dict(discopopTau=0.05)), ("discopop", dict(discopopTau=1.0)),
    ("ipo", {}), ("sigmoid_norm", {}), ("nca_pair", {}), ("bco_pair", {}), ("sppo_hard", {}), ("apo_zero", {}),
    ("apo_down", {}),
    ("simpo", dict(gamma=0.5)), ("simpo", dict(gamma=1.5, labelSmoothing=0.1)),
]  # fmt: skip
WHOLE = [
    ("aot", {}), ("aot", dict(labelSmoothing=0.2)), ("aot_unpaired", {}), ("aot_unpaired", dict(labelSmoothing=0.2)),
    ("sft", {}),
    ("cpo", dict(nllCoef=1.0)), ("cpo", dict(nllCoef=0.3, labelSmoothing=0.1)), ("orpo", {}),
]  # fmt: skip
OVER_MARGINS = [
    ("sigmoid", {}), ("hinge", {}), ("robust", dict(labelSmoothing=0.1)), ("exo_pair", dict(labelSmoothing=1e-3)),
    ("discopop", {}),
    ("ipo", {}), ("sigmoid_norm", {}),
]  # fmt: skip
DIVERGENCES = [
    dict(divergence="forward_kl"), dict(divergence="js"),
    dict(divergence="alpha", divergenceAlpha=0.5), dict(divergence="alpha", divergenceAlpha=0.2),
]  # fmt: skip


def pairs():
    for each in batches():
        results = []
        for losses, whole in ((LOSSES, False), (WHOLE, True)):
            for loss, options in losses:
                beta = {} if loss == "sft" else dict(beta=each["beta"])
                results.append(
                    result(each["inputs"], loss, beta | options, loss_function(loss, each["beta"], **options), whole)
                )
        yield dict(name=each["name"], inputs=each["inputs"], results=results)


def divergences():
    """At log-ratios below 40, where nothing is cut off; and js, which needs no cut, at all."""
    for each in batches():
        log_ratios = [
            each["inputs"][f"policy{side}Logps"] - each["inputs"][f"ref{side}Logps"] for side in ("Chosen", "Rejected")
        ]
        wide = max(x.detach().abs().max() for x in log_ratios) >= 40
        results = []
        for options in DIVERGENCES:
            if wide and options["divergence"] != "js":
                continue
            for loss, others in OVER_MARGINS:
                given = options | others
                results.append(
                    result(
                        each["inputs"],
                        loss,
                        dict(beta=each["beta"]) | given,
                        loss_function(loss, each["beta"], **given),
                    )
                )
        yield dict(name=each["name"], inputs=each["inputs"], results=results)


def sums():
    each = list(batches())[2]
    for terms in [
        [dict(loss="sigmoid", weight=0.8), dict(loss="bco_pair", weight=0.2), dict(loss="sft", weight=1.0)],
        [dict(loss="ipo", weight=0.5), dict(loss="aot", weight=2.0)],
    ]:
        names, weights = [term["loss"] for term in terms], [term["weight"] for term in terms]
        beta = each["beta"]
        function = partial(trl_dpo, loss_types=names, loss_weights=weights, beta=beta)
        options = [term | ({} if term["loss"] == "sft" else dict(beta=beta)) for term in terms]
        yield dict(
            name="sum",
            inputs=each["inputs"],
            results=[result(each["inputs"], "+".join(names), options, function, whole=True)],
        )


def reference_free():
    for each in batches():
        function = partial(eric_mitchell, beta=each["beta"], reference_free=True)
        yield dict(
            name=each["name"],
            inputs=each["inputs"],
            results=[result(each["inputs"], "sigmoid", dict(beta=each["beta"]), function)],
        )


TOKENS = [([4, 1, 6], [2, 5, 6]), ([1], [1]), ([3, 7], [9, 2])]


def length_desensitised():
    for (chosen_lengths, rejected_lengths), ld_alpha in zip(TOKENS * 2, [0.0, 0.5, 0.3, 1.0, 0.25, 0.0]):
        mask = completion_mask(chosen_lengths + rejected_lengths)
        tokens, ref_tokens = (normal(*mask[:, 1:].shape, mean=-3) for _ in range(2))
        pairs = len(chosen_lengths)
        each = []
        for i in range(pairs):
            rows, width = [i, pairs + i], max(chosen_lengths[i], rejected_lengths[i])
            policy, reference = ((x * mask[:, 1:])[rows, :width] for x in (tokens, ref_tokens))
            lengths = dict(
                chosenLengths=torch.tensor([chosen_lengths[i]]), rejectedLengths=torch.tensor([rejected_lengths[i]])
            )
            settings = dict(ld_alpha=ld_alpha, precompute_ref_logps=False, ref_model=Model(reference))
            each.append(trl_dpo(lengths, ["sigmoid"], tokens=policy, **settings))
        yield dict(
            ldAlpha=ld_alpha,
            mask=mask[:, 1:],
            perTokenLogps=tokens,
            refPerTokenLogps=ref_tokens,
            losses=torch.stack(each),
            grad=gradients(sum(each), dict(tokens=tokens))["grad.tokens"],
        )


def weighted_by_policy():
    for (chosen_lengths, rejected_lengths), loss in zip(TOKENS, ["sigmoid", "ipo", "apo_down"]):
        mask = completion_mask(chosen_lengths + rejected_lengths)
        tokens, squares = normal(*mask[:, 1:].shape, mean=-3), normal(*mask[:, 1:].shape, scale=0.3, mean=-2)
        pairs = len(chosen_lengths)
        ref_chosen, ref_rejected = normal(pairs, mean=-9).detach(), normal(pairs, mean=-9).detach()
        masked = tokens * mask[:, 1:]
        inputs = dict(
            policyChosenLogps=masked[:pairs].sum(1),
            policyRejectedLogps=masked[pairs:].sum(1),
            refChosenLogps=ref_chosen,
            refRejectedLogps=ref_rejected,
            chosenLengths=torch.tensor(chosen_lengths),
            rejectedLengths=torch.tensor(rejected_lengths),
        )
        each = []
        for i in range(pairs):
            rows, pair = [i, pairs + i], {name: x[i : i + 1] for name, x in inputs.items()}
            width = max(chosen_lengths[i], rejected_lengths[i])
            each.append(
                trl_dpo(
                    pair,
                    [loss],
                    tokens=masked[rows, :width],
                    log_sum_sq_probs=squares[rows, :width],
                    use_weighting=True,
                )
            )
        losses = torch.stack(each)
        given = dict(
            mask=mask[:, 1:],
            perTokenLogps=tokens,
            logSumSquaredProbs=squares,
            refChosenLogps=ref_chosen,
            refRejectedLogps=ref_rejected,
        )
        yield dict(loss=loss, **given, losses=losses, grad=gradients(losses.sum(), dict(tokens=tokens))["grad.tokens"])


def squared_probs():
    for shape, scale in [((3,), 1), ((4, 5), 3), ((2, 3, 7), 1), ((2, 6), 1e4)]:
        logits = normal(*shape, scale=scale)
        yield dict(logits=logits, logSumSquaredProbs=logits.softmax(-1).square().sum(-1).log())


def kto():
    cases = [
        (4, 5, 0.1, 1, 1, 2),
        (5, 3, 0.5, 1.5, 0.7, -4),
        (6, FAR, 0.1, 1, 1, 50),
        (3, 0, 0.1, 1, 2, 0),
        (3, 2, 0.05, 1, 1, 1),
    ]
    for B, distance, beta, desirable_weight, undesirable_weight, drift in cases:
        reference = normal(B, scale=9, mean=-40)
        policy = (reference + normal(B, scale=distance)).detach().float().double().requires_grad_()
        ref_mismatched = normal(B, scale=9, mean=-60)
        mismatched = (ref_mismatched + normal(B, scale=abs(drift) / 4, mean=drift)).detach().float().double()
        desirable = torch.tensor([i % 3 != 1 for i in range(B)]) if B != 3 else torch.ones(B, dtype=torch.bool)

        def loss(i):
            """Of one row; the KL is the whole batch's."""
            of = lambda x: x[i : i + 1]
            weights = dict(beta=beta, desirable_weight=desirable_weight, undesirable_weight=undesirable_weight)
            return trl_kto(of(policy), of(reference).detach(), of(desirable), mismatched, ref_mismatched, **weights)

        losses, kls = zip(*(loss(i) for i in range(B)))
        yield dict(
            beta=beta,
            desirableWeight=desirable_weight,
            undesirableWeight=undesirable_weight,
            policyLogps=policy,
            refLogps=reference,
            desirable=desirable.int(),
            policyMismatchedLogps=mismatched,
            refMismatchedLogps=ref_mismatched,
            losses=torch.stack(losses),
            kl=kls[0],
            **gradients(torch.stack(losses).sum(), dict(policyLogps=policy)),
        )


SECTIONS = [pairs, divergences, sums, reference_free, length_desensitised, weighted_by_policy, squared_probs, kto]

if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)  # TRL makes EXO's epsilon of the default type
    sections = []
    for cases in SECTIONS:
        lines = ",\n".join(json.dumps(plain(case), separators=(",", ":"), allow_nan=False) for case in cases())
        sections.append(f'"{cases.__name__}": [\n{lines}\n]')
    FIXTURES.parent.mkdir(exist_ok=True)
    FIXTURES.write_text("{\n" + ",\n".join(sections) + "\n}\n")
