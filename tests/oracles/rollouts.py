"""Sampling as the library does it, and log-probs of what was sampled, in PyTorch, for the twins of the notebooks that
train on samples."""

import torch
from order import Random

EOS = 50256


@torch.no_grad()
def sample(model, prompts, seed, temperature=1, most=32):
    """An answer to each prompt: one uniform draw a token, from a generator for each row, over the vocabulary in its
    order."""
    seeds = Random(seed)
    randoms = [Random(seeds.uint32()) for _ in prompts]
    longest = max(map(len, prompts))
    ids = torch.tensor([[EOS] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    made, past = [[] for _ in prompts], None
    while any(len(row) < most and EOS not in row for row in made):
        places = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        out = model.transformer(ids, attention_mask=mask, position_ids=places, past_key_values=past, use_cache=True)
        past = out.past_key_values
        probabilities = torch.softmax(model.lm_head(out[0][:, -1]) / temperature, -1).double().cumsum(1)
        ids = torch.full((len(prompts), 1), EOS)
        for n, row in enumerate(made):
            if len(row) < most and EOS not in row:
                draw = randoms[n].uniform()
                row.append(min(torch.searchsorted(probabilities[n], draw, right=True).item(), EOS))
                ids[n] = row[-1]
        mask = torch.cat([mask, torch.ones(len(prompts), 1, dtype=mask.dtype)], 1)
    return made


def token_numbers(model, rows, temperature=1, head=None):
    """Of each token of the answers, one after another: its log-prob and its value. `rows` of (prompt, answer)."""
    T = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids = torch.tensor([prompt + answer + [EOS] * (T - len(prompt) - len(answer)) for prompt, answer in rows])
    mask = (torch.arange(T) < torch.tensor([[len(prompt) + len(answer)] for prompt, answer in rows])).long()
    at = [(n, len(prompt) - 1 + i, id) for n, (prompt, answer) in enumerate(rows) for i, id in enumerate(answer)]
    row, place, labels = map(torch.tensor, zip(*at))
    hidden = model.transformer(ids, attention_mask=mask)[0][row, place]
    distribution = torch.log_softmax(model.lm_head(hidden) / temperature, -1)
    return distribution.gather(1, labels[:, None])[:, 0], head(hidden)[:, 0] if head else None


def split(values, rows):
    return list(torch.split(values, [len(answer) for _, answer in rows]))


def sums(model, rows):
    """The log-prob of each whole answer. `rows` of (prompt, answer)."""
    return torch.stack([logps.sum() for logps in split(token_numbers(model, rows)[0], rows)])


def margins(model, pairs):
    """By how much chosen is the likelier answer. `pairs` of (prompt, chosen, rejected)."""
    both = sums(model, [(prompt, answer) for prompt, *answers in pairs for answer in answers]).view(-1, 2)
    return both[:, 0] - both[:, 1]
