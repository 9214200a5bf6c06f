"""Log-probs of responses, in PyTorch: for the twins that train."""

import torch

EOS = 50256


def response_logps(model, rows):
    """Of each (prompt, response): the response's log-prob, and its number of tokens; both [R]."""
    longest = max(len(prompt) + len(response) for prompt, response in rows)
    padded = torch.tensor(
        [[*prompt, *response] + [EOS] * (longest - len(prompt) - len(response)) for prompt, response in rows]
    )
    places = torch.arange(1, longest)
    starts, ends = torch.tensor([[len(prompt), len(prompt) + len(response)] for prompt, response in rows]).T[:, :, None]
    mask = (places >= starts) & (places < ends)
    tops = model.lm_head(model.transformer(padded)[0][:, :-1][mask])  # elsewhere they are not needed
    each = torch.log_softmax(tops, -1).gather(1, padded[:, 1:][mask][:, None])[:, 0]
    return torch.zeros(len(rows)).index_add(0, mask.nonzero()[:, 0], each), mask.sum(1)
