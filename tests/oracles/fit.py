"""The training loop of the twins, in PyTorch: AdamW as the library's trainers use it."""

import torch


def fit(weights, order, lr, schedule, loss_of, beta2=0.999):
    """With decay on matrices, clipped to norm 1; `order` has each step's row numbers, `schedule` makes one of an
    optimizer. Yields each step's loss."""
    weights = list(weights)
    matrices = [weight for weight in weights if weight.dim() > 1]
    others = [weight for weight in weights if weight.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, beta2))
    lr_of = schedule(optimizer)
    for rows in order:
        loss = loss_of(rows)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        lr_of.step()
        yield loss.item()
