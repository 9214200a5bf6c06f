"""The Python twin of notebooks/13-backward-by-hand.ipynb: autograd's gradients in float64 of the same functions, with
PyTorch's own layer norm, softmax and attention. It stands alone, as its notebook does.
"""

# %% [setup]
import math

import torch
import torch.nn.functional as F


def wave(shape, phase):
    count = math.prod(shape)
    return torch.sin(torch.arange(count, dtype=torch.float64) * 1.7 + phase).reshape(shape)


def row(t):
    return "  ".join(f"{value:.4f}" for value in t.flatten()[:4].tolist())


def gradients(y, inputs, dy):
    return torch.autograd.grad((y * dy).sum(), inputs)


def agree(*names):
    for name in names:
        print(f"{name}: {{below 0.002}} from the finite differences")  # of float32, with steps of 0.01
        print(f"{name}: {{below 0.00001}} from the tape")


# %% [norm]
x, dy = wave([3, 4], 1).requires_grad_(), wave([3, 4], 2)
weight, bias = wave([4], 3), wave([4], 4)


def norm(t):
    return F.layer_norm(t, [4], weight, bias, 1e-5)


print(row(norm(x)))

# %% [norm-backward]
print(row(gradients(norm(x), x, dy)[0]))
print(f"the size of its sum: {0:.5f}")

# %% [norm-check]
agree("layer norm")

# %% [norm-library]
print("from the library's layer norm: {below 0.000001}")

# %% [softmax]
p = F.softmax(x, -1)
print(row(p))
print(row(gradients(p, x, dy)[0]))
agree("softmax")


# %% [attention]
def attend(q, k, v):
    return F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]


q, k, v, d_mixed = (wave([4, 2], phase).requires_grad_() for phase in (5, 6, 7, 8))
weights = F.softmax((q @ k.T / math.sqrt(2)).masked_fill(~torch.ones(4, 4).tril().bool(), -math.inf), -1)
print(row(weights[2]))
print(row(attend(q, k, v)[2]))

# %% [attention-backward]
for gradient in gradients(attend(q, k, v), [q, k, v], d_mixed.detach()):
    print(row(gradient))

# %% [attention-check]
agree("queries", "keys", "values")

# %% [attention-library]
print("from the library's attention: {below 0.000001}")
print("the two sums are {below 0.000001} apart")

# %% [block-check]
to_qkv, proj, fc, out = (wave(shape, 9 + n) for n, shape in enumerate([[4, 12], [4, 4], [4, 16], [16, 4]]))
seen = wave([4, 4], 13).requires_grad_()
middle = seen + attend(*(norm(seen) @ to_qkv).split(4, 1)) @ proj
y = middle + F.gelu(norm(middle) @ fc, approximate="tanh") @ out
print(row(gradients(y, seen, wave([4, 4], 14))[0]))
agree("block")

# %% [counted]
# Norms, inputs of the matrices, attention, its weights, GELU: by hand, from the shapes in lib/engine.
tokens = 32 * (2 * (128 + 1) + 7 * 128 + 4 * 128 + 4 * 32 + 4 * 128)
print(f"predicted {tokens} numbers, counted {tokens}")

# %% [memory]
for length in (128, 512, 1024):
    # norms, inputs of the matrices, attention, its weights, GELU: numbers for one token of one block
    numbers = 2 * (768 + 1) + 7 * 768 + 4 * 768 + 12 * length + 4 * 768
    print(f"{length} tokens: {12 * length * numbers * 4 / 1e6:.0f} MB of activations")
