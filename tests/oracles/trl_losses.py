"""The losses of TRL 1.16, by its trainers' own methods, called without a trainer on a model that gives chosen
log-probs."""

import contextlib
import os
from collections import defaultdict
from functools import partial
from types import SimpleNamespace
from unittest import mock

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import torch
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_trainer import KTOTrainer


class Model(torch.nn.Module):
    """Gives these log-probs whatever it is asked; of the rest, zeros where TRL's logs read them. A module, because
    Accelerate looks into it for PEFT's adapters where PEFT is installed."""

    is_gradient_checkpointing = False

    def __init__(self, log_probs, log_sum_sq_probs=None):
        super().__init__()
        self.eval()
        nothing = torch.zeros_like(log_probs)
        self.outputs = SimpleNamespace(
            log_probs=log_probs,
            log_sum_sq_probs=log_sum_sq_probs,
            entropy=nothing,
            mean_logits=nothing,
            is_top1=nothing.bool(),
        )

    def forward(self, **inputs):
        return self.outputs


def trainer(**settings):
    """What stands for `self` in TRL's methods."""
    accelerator = SimpleNamespace(device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x)
    return SimpleNamespace(
        accelerator=accelerator,
        aux_loss_enabled=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
        **settings,
    )


@contextlib.contextmanager
def in_float64():
    """TRL casts to float32 in ORPO and in the alpha-divergence, whose bound it looks up by type: there too we want
    float64."""
    with (
        mock.patch.object(torch, "float32", torch.float64),
        mock.patch.object(torch.Tensor, "float", torch.Tensor.double),
    ):
        yield


def completion_mask(lengths):
    """[N, 1 + longest]: one token of prompt, then the response."""
    return torch.stack([torch.tensor([0] + [1] * int(n) + [0] * (int(max(lengths)) - int(n))) for n in lengths])


def trl_dpo(inputs, loss_types, loss_weights=None, tokens=None, log_sum_sq_probs=None, **settings):
    """DPOTrainer's loss on a batch: a scalar. `tokens`: log-probs per token; else spread evenly over the response."""
    lengths = torch.cat([inputs["chosenLengths"], inputs["rejectedLengths"]])
    mask = completion_mask(lengths)
    if tokens is None:
        sums = torch.cat([inputs["policyChosenLogps"], inputs["policyRejectedLogps"]])
        tokens = (sums / lengths)[:, None] * mask[:, 1:]
    defaults = dict(
        beta=0.1,
        label_smoothing=0.0,
        f_divergence_type="reverse_kl",
        f_alpha_divergence_coef=0.5,
        ld_alpha=None,
        use_weighting=False,
        precompute_ref_logps=True,
        args=SimpleNamespace(discopop_tau=settings.pop("discopop_tau", 0.05), gradient_checkpointing_kwargs=None),
    )
    model = Model(tokens, log_sum_sq_probs)
    weights = loss_weights or [1.0] * len(loss_types)
    self = trainer(**(defaults | settings), loss_types=loss_types, loss_weights=weights, model=model)
    given = dict(input_ids=mask, attention_mask=mask, completion_mask=mask)
    if self.precompute_ref_logps:
        given |= dict(ref_chosen_logps=inputs["refChosenLogps"], ref_rejected_logps=inputs["refRejectedLogps"])
    with in_float64():
        return DPOTrainer._compute_loss(self, model, given, False)


def trl_cpo(inputs, loss_type, **settings):
    """CPOTrainer's loss on a batch, 'sigmoid' (CPO) or 'simpo': a scalar."""
    logps = mean_logps(inputs) if loss_type == "simpo" else (inputs["policyChosenLogps"], inputs["policyRejectedLogps"])
    self = trainer(**settings, loss_type=loss_type, alpha=0.0, concatenated_forward=forward(*logps, inputs))
    self.cpo_loss = partial(CPOTrainer.cpo_loss, self)
    return CPOTrainer.get_batch_loss_metrics(self, None, {})[0]


def trl_orpo(inputs, beta):
    """ORPOTrainer's loss on a batch whose NLL is that of the responses alone: a scalar."""
    self = trainer(beta=beta, concatenated_forward=forward(*mean_logps(inputs), inputs))
    self.odds_ratio_loss = partial(ORPOTrainer.odds_ratio_loss, self)
    with in_float64():
        return ORPOTrainer.get_batch_loss_metrics(self, None, {})[0]


def mean_logps(inputs):
    return inputs["policyChosenLogps"] / inputs["chosenLengths"], inputs["policyRejectedLogps"] / inputs[
        "rejectedLengths"
    ]


def forward(chosen_logps, rejected_logps, inputs):
    """What stands for `concatenated_forward`: log-probs, logits (for the log only), and the NLL of the chosen
    tokens."""
    nll, logits = -inputs["policyChosenLogps"].sum() / inputs["chosenLengths"].sum(), torch.zeros(1)
    return lambda model, batch: (chosen_logps, rejected_logps, logits, logits, nll)


def trl_kto(logps, ref_logps, desirable, mismatched_logps, ref_mismatched_logps, **settings):
    """KTOTrainer's loss on a batch, a scalar, and the KL that it logs."""
    model = Model(logps[:, None])
    self = trainer(
        **settings,
        model=model,
        loss_type="kto",
        calculate_KL=True,
        precompute_ref_logps=True,
        _compute_kl_logps=lambda model, batch: mismatched_logps,
    )
    ids = torch.tensor([[0, 1]]).expand(len(logps), 2)
    given = dict(
        input_ids=ids,
        attention_mask=ids,
        completion_mask=ids,
        label=desirable,
        ref_logps=ref_logps,
        ref_KL_logps=ref_mismatched_logps,
    )
    return KTOTrainer._compute_loss(self, model, given, False), self._metrics["eval"]["kl"][0]
