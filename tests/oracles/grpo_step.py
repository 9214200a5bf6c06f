"""Makes tests/fixtures/grpo_step.json: GRPO and RLOO on one rollout of fixed responses, written out in float64 and held
to TRL 1.16.

    .alignbook/oracles/bin/python tests/oracles/grpo_step.py

The policy is a-group of tests/fixtures/engine; three prompts have four responses each, one group of equal rewards.
Logits are divided by the temperature, for old, new and reference log-probs alike. `advantages` of the rewards:

    group        (r - mean) / (deviation + 1e-4) in each group, the deviation with Bessel's correction (arXiv
                 2402.03300)
    none         r - mean of the group, undivided (arXiv 2503.20783)
    batch        r - mean of the group, divided by the deviation of all rewards + 1e-4
    leaveOneOut  r - mean of the others of the group (RLOO, arXiv 2402.14740)

and each token's term, with advantage A (group) of its response, x = logps - refLogps and ratio = exp(logps - oldLogps),

    term = -min(ratio A, clip(ratio, 1 ± clipRange) A) + beta k3,   k3 = exp(-x) - 1 + x

`klRatio` says whether k3 is multiplied by the ratio, through which its gradient then flows, too: the default of TRL
1.16, whose use_bias_correction_kl it is (arXiv 2512.02556); without it, GRPO's paper. A loss is, of the rows of a
minibatch,

    grpo     the mean of each response's mean term
    bnpo     the mean of all its tokens' terms
    dapo     the sum of the terms over the rollout's tokens a minibatch: all tokens of the rollout / how many
             minibatches it has
    dr_grpo  the sum of the terms / (responses * maxNewTokens)

A run of its own has other options: `clipRange`, `epsilonHigh` (the range is 1 - clipRange to 1 + epsilonHigh), `level`
"sequence" (one ratio for a response, exp of the mean log-ratio of its tokens, arXiv 2507.18071; its flags of clipping
are then per response) and `maskTruncated` (responses that did not end are in no sum, but in the number of responses).

`runs` are updates from the first policy on, minibatch by minibatch of `order`: two passes over the whole rollout with
the gradients of the first (flattened float32, unclipped), and two passes in two minibatches. `clipFraction` is the
share of tokens at which the clipped term counts, of it `lowClip` those below the range; `kl` is the mean k3 (times the
ratio where klRatio). The runs of grpo and of other options hold the weights after them. `rloo` has a ratio of whole
responses and no k3: the reward is less by beta * sum(oldLogps - refLogps).
"""

import json
import math
import os
import tempfile
from collections import defaultdict
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"

import torch
from ppo_step import EOS, floats, moved, optimizer_of, plain
from training import model_of
from trl_rollouts import batch_inputs, scripted_trainer

OUT = Path(os.environ.get("ORACLES_OUT", Path(__file__).resolve().parent.parent))
VOCABULARY = 37
GENERATIONS = 4
OPTIONS = {
    "temperature": 0.9,
    "beta": 0.04,
    "clipRange": 0.2,
    "maxNewTokens": 9,
    "lr": 2e-3,
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-5,
    "weightDecay": 0.01,
    "maxGradNorm": 1.0,
}
PROMPTS = [4, 6, 2]
RESPONSES = [[5, 1, 8, 3], [2, 6, 4, 7], [3, 3, 1, 9]]
ENDED = [[1, 0, 1, 1], [0, 1, 1, 0], [1, 0, 1, 0]]
REWARDS = [[1.0, 0.0, 0.5, 2.0], [0.75, 0.75, 0.75, 0.75], [-1.0, 1.5, 0.25, 0.0]]
WHOLE = [[*range(12)]] * 2
HALVES = [[4, 0, 9, 11, 2, 6], [8, 1, 3, 10, 5, 7], [7, 2, 0, 8, 10, 3], [1, 4, 5, 6, 9, 11]]
LOSSES = ["grpo", "bnpo", "dapo", "dr_grpo"]
PLAIN = {"klRatio": False, "clipRange": 0.2, "epsilonHigh": 0.2, "level": "token", "maskTruncated": False}
# a response's ratio is a mean of its tokens' and moves less, so its range is narrower
OTHERS = [
    {"loss": "grpo", "epsilonHigh": 0.28},
    {"loss": "grpo", "level": "sequence", "clipRange": 0.05, "epsilonHigh": 0.08},
    {"loss": "dapo", "maskTruncated": True},
    {"loss": "dr_grpo", "klRatio": True, "level": "sequence", "maskTruncated": True, "clipRange": 0.05},
]


def scripted():
    generator = torch.Generator().manual_seed(38)
    ids = lambda length: torch.randint(1, VOCABULARY, (length,), generator=generator).tolist()
    rows = []
    for prompt, lengths, ended, rewards in zip(PROMPTS, RESPONSES, ENDED, REWARDS):
        prompt_ids = ids(prompt)
        rows += [
            {"promptIds": prompt_ids, "responseIds": ids(length - end) + [EOS] * end, "reward": reward}
            for length, end, reward in zip(lengths, ended, rewards)
        ]
    return rows, [
        (0.4 * torch.randn(len(row["responseIds"]), generator=generator)).round(decimals=4).tolist() for row in rows
    ]


def token_logps(model, row, temperature):
    """Of each token of the response: its log-prob, and the entropy of the distribution that it came from."""
    first, response = len(row["promptIds"]) - 1, torch.tensor(row["responseIds"])
    distribution = torch.log_softmax(
        model(torch.tensor([row["promptIds"] + row["responseIds"]])).logits[0, first:-1] / temperature, -1
    )
    return distribution.gather(1, response[:, None])[:, 0], -(distribution.exp() * distribution).sum(-1)


def advantages_of(rewards):
    groups = rewards.view(-1, GENERATIONS)
    centred = groups - groups.mean(1, keepdim=True)
    return {
        "group": (centred / (groups.std(1, keepdim=True) + 1e-4)).flatten(),
        "none": centred.flatten(),
        "batch": (centred / (rewards.std() + 1e-4)).flatten(),
        "leaveOneOut": (groups - (groups.sum(1, keepdim=True) - groups) / (GENERATIONS - 1)).flatten(),
    }


def clipped_term(ratio, advantage, clip, high):
    """The term to be made small, and where the clipped one counts: below the range, above it."""
    unclipped, clipped = -ratio * advantage, -ratio.clamp(1 - clip, 1 + high) * advantage
    # no float32 falls on the other side
    assert min((ratio - 1 + clip).abs().min(), (ratio - 1 - high).abs().min()) > 1e-4
    counts = clipped > unclipped
    return torch.maximum(unclipped, clipped), counts & (ratio < 1), counts & (ratio > 1)


def left_out(row, variant):
    return variant["maskTruncated"] and not ENDED[row // GENERATIONS][row % GENERATIONS]


def grpo_loss(logps, made, batch, options, variant, minibatches):
    terms, kls, lows, highs = [], [], [], []
    for logp, row in zip(logps, batch):
        if left_out(row, variant):
            lows, highs = [*lows, torch.zeros(1, dtype=bool)], [*highs, torch.zeros(1, dtype=bool)]  # per response only
            continue
        log_ratio = logp - made["oldLogps"][row]
        ratio = torch.exp(log_ratio if variant["level"] == "token" else log_ratio.mean(0, keepdim=True))
        advantage = made["advantages"]["group"][row]
        term, low, high = clipped_term(ratio, advantage, variant["clipRange"], variant["epsilonHigh"])
        x = logp - made["refLogps"][row]
        k3 = (torch.expm1(-x) + x) * (ratio if variant["klRatio"] else 1)
        terms.append(term + options["beta"] * k3)
        kls, lows, highs = [*kls, k3], [*lows, low], [*highs, high]
    if variant["level"] == "token" and variant["maskTruncated"]:
        lows, highs = (
            [flag for flag, row in zip(flags, batch) if not left_out(row, variant)] for flags in (lows, highs)
        )
    tokens = tokens_of(made, variant)
    loss = {
        "grpo": torch.stack([term.mean() for term in terms]).sum() / len(batch),
        "bnpo": torch.cat(terms).mean(),
        "dapo": torch.cat(terms).sum() / (tokens / minibatches),
        "dr_grpo": torch.cat(terms).sum() / (len(batch) * options["maxNewTokens"]),
    }[variant["loss"]]
    low, high = (torch.cat(flags).double().mean() for flags in (lows, highs))
    return loss, {"kl": torch.cat(kls).mean(), "clipFraction": low + high, "lowClip": low}


def tokens_of(made, variant):
    return sum(len(logp) for row, logp in enumerate(made["oldLogps"]) if not left_out(row, variant))


def rloo_loss(logps, made, batch, options):
    ratio = torch.stack([(logp - made["oldLogps"][row]).sum() for logp, row in zip(logps, batch)]).exp()
    clip = options["clipRange"]
    term, low, high = clipped_term(ratio, made["rloo"]["advantages"][batch], clip, clip)
    return term.mean(), {"clipFraction": (low | high).double().mean(), "lowClip": low.double().mean()}


def run(rows, made, order, options, loss_of, check, counts=lambda row: True):
    """Updates from the first policy on; `check` is shown each before its step."""
    model = model_of("a-group").double()
    optimizer = optimizer_of(model, options)
    updates, first = [], None
    for batch in order:
        logps, entropies = zip(*[token_logps(model, rows[row], options["temperature"]) for row in batch])
        ratios = torch.cat([torch.exp(logp - made["oldLogps"][row]) for logp, row in zip(logps, batch)])
        entropy = torch.cat([entropy for entropy, row in zip(entropies, batch) if counts(row)]).mean()
        loss, logged = loss_of(logps, batch)
        optimizer.zero_grad()
        loss.backward()
        check(model, batch, loss, logged, entropy)
        first = first or floats(
            {name.removeprefix("transformer."): weight.grad for name, weight in model.named_parameters()}
        )
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), options["maxGradNorm"])
        optimizer.step()
        statistics = {"ratioMean": ratios.mean(), "ratioVariance": ratios.var(), "entropy": entropy, "gradNorm": norm}
        updates.append(plain({"rows": batch, "loss": loss, **logged, **statistics, "logps": logps}))
    return (
        updates,
        first,
        floats({name.removeprefix("transformer."): weight for name, weight in model.named_parameters()}),
    )


class Trl:
    """TRL's trainers beside ours."""

    def __init__(self, folder, rows, made):
        self.folder, self.rows, self.made = folder, rows, made
        model_of("a-group").save_pretrained(folder)

    def trainer(self, kind, steps_per_generation=1, **options):
        size = len(self.rows) // steps_per_generation
        sizes = {
            "per_device_train_batch_size": size,
            "steps_per_generation": steps_per_generation,
            "gradient_accumulation_steps": 1,
            "num_iterations": 2,
        }
        shared = {
            "temperature": OPTIONS["temperature"],
            "beta": OPTIONS["beta"],
            "max_completion_length": OPTIONS["maxNewTokens"],
        }
        prompts = [row["promptIds"] for row in self.rows[::GENERATIONS]]
        trainer = scripted_trainer(
            kind, self.folder, prompts, lambda: self.rows, VOCABULARY, GENERATIONS, **sizes, **shared, **options
        )
        trainer.current_gradient_accumulation_steps = 1
        trainer.model.double().train()
        return trainer

    def checks(self, trainer, kind, variant=None):
        made = self.made

        def check(model, batch, loss, logged, entropy):
            theirs = trainer.model
            theirs.load_state_dict(model.state_dict())
            theirs.zero_grad()
            rows = [self.rows[row] for row in batch]
            of = lambda values: [values[row] for row in batch]
            if kind == "grpo":
                inputs = batch_inputs(
                    rows,
                    old_per_token_logps=of(made["oldLogps"]),
                    ref_per_token_logps=of(made["refLogps"]),
                    advantages=of(made["advantages"]["group"]),
                )
                for place, row in enumerate(batch):
                    if left_out(row, variant):  # as _generate_and_score_completions does (grpo_trl.py calls it)
                        inputs["completion_mask"][place] = 0
                inputs["num_items_in_batch"] = torch.tensor(float(tokens_of(made, variant)))
            else:
                inputs = batch_inputs(
                    rows,
                    old_logps=[logp.sum() for logp in of(made["oldLogps"])],
                    advantages=of(made["rloo"]["advantages"]),
                )
            trainer._metrics["train"] = defaultdict(list)
            their_loss = trainer._compute_loss(theirs, inputs)
            their_loss.backward()
            torch.testing.assert_close(their_loss, loss, rtol=0, atol=1e-6)  # its log-probs are float32
            for (name, weight), (_, their_weight) in zip(model.named_parameters(), theirs.named_parameters()):
                torch.testing.assert_close(
                    their_weight.grad, weight.grad, rtol=1e-5, atol=1e-6, msg=lambda text: f"{name}: {text}"
                )
            names = {"kl": "kl", "clipFraction": "clip_ratio/region_mean", "lowClip": "clip_ratio/low_mean"}
            ours = {"entropy": entropy, **{names[key]: value for key, value in logged.items()}}
            for name, value in ours.items():
                assert math.isclose(trainer._metrics["train"][name][-1], value.item(), rel_tol=1e-5, abs_tol=1e-6), (
                    name,
                    value,
                    trainer._metrics["train"][name],
                )

        return check

    def check_advantages(self):
        """Through the trainers' own sampling and scoring."""
        inputs = [{"prompt": " ".join(f"t{n}" for n in row["promptIds"])} for row in self.rows]
        close = lambda theirs, ours: torch.testing.assert_close(theirs.double(), ours, rtol=1e-5, atol=1e-5)
        for scale in ("group", "none", "batch"):
            made = self.trainer("grpo", scale_rewards=scale)._generate_and_score_completions(inputs)
            close(made["advantages"], self.made["advantages"][scale])
            for n, logps in enumerate(self.made["oldLogps"]):
                close(made["old_per_token_logps"][n, : len(logps)], logps)
        trainer = self.trainer("rloo")
        # Rewards by the reference's log-probs need a reference that gives them: here their sums of each row.
        ref = torch.nn.utils.rnn.pad_sequence(self.made["refLogps"], batch_first=True)
        own = trainer._get_per_token_logps_and_entropies
        trainer._get_per_token_logps_and_entropies = lambda model, *args, **options: (
            (ref, None, None) if model is trainer.ref_model else own(model, *args, **options)
        )
        close(trainer._generate_and_score_completions(inputs)["advantages"], self.made["rloo"]["advantages"])


def main():
    rows, offsets = scripted()
    with torch.no_grad():
        old = [token_logps(model_of("a-group").double(), row, OPTIONS["temperature"])[0] for row in rows]
    ref = moved(old, offsets)
    rewards = torch.tensor([row["reward"] for row in rows], dtype=torch.float64)
    less_kl = rewards - OPTIONS["beta"] * torch.stack([(logp - ref_logp).sum() for logp, ref_logp in zip(old, ref)])
    made = {
        "oldLogps": old,
        "refLogps": ref,
        "advantages": advantages_of(rewards),
        "rloo": {"rewards": less_kl, "advantages": advantages_of(less_kl)["leaveOneOut"]},
    }

    with tempfile.TemporaryDirectory() as folder:
        trl = Trl(folder, rows, made)
        trl.check_advantages()
        runs = []
        for order, minibatches in ((WHOLE, 1), (HALVES, 2)):
            plain_losses = [{"loss": loss} for loss in LOSSES] + [{"loss": "grpo", "klRatio": True}]
            for changed in plain_losses + (OTHERS if order is WHOLE else []):
                variant = {**PLAIN, **changed}
                trainer = trl.trainer(
                    "grpo",
                    minibatches,
                    loss_type=variant["loss"],
                    use_bias_correction_kl=variant["klRatio"],
                    epsilon=variant["clipRange"],
                    epsilon_high=variant["epsilonHigh"],
                    importance_sampling_level=variant["level"],
                    mask_truncated_completions=variant["maskTruncated"],
                )
                loss_of = lambda logps, batch: grpo_loss(logps, made, batch, OPTIONS, variant, minibatches)
                counts = lambda row: not left_out(row, variant)
                check = trl.checks(trainer, "grpo", variant)
                updates, first, weights = run(rows, made, order, OPTIONS, loss_of, check, counts)
                assert any(0 < update["lowClip"] < update["clipFraction"] for update in updates)
                entry = {**variant, "order": order, "updates": updates}
                # dapo is bnpo where the minibatch is the rollout
                if order is WHOLE and changed not in OTHERS and variant["loss"] != "dapo":
                    entry["gradients"] = first
                if order is WHOLE and (changed in OTHERS or variant["loss"] == "grpo"):
                    entry["weights"] = weights
                runs.append(entry)
        check = trl.checks(trl.trainer("rloo", epsilon=OPTIONS["clipRange"]), "rloo")
        updates, first, weights = run(
            rows, made, WHOLE, OPTIONS, lambda logps, batch: rloo_loss(logps, made, batch, OPTIONS), check
        )
        rloo = {**made.pop("rloo"), "updates": updates, "gradients": first}

    fixture = {
        "model": "a-group",
        "options": OPTIONS,
        "generations": GENERATIONS,
        "rows": rows,
        **plain(made),
        "runs": runs,
        "rloo": plain(rloo),
    }
    (OUT / "fixtures" / "grpo_step.json").write_text(json.dumps(fixture) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
