"""Prints the first outputs of xoshiro128** from the state 1, 2, 3, 4, after https://prng.di.unimi.it/xoshiro128starstar.c

    python tests/oracles/xoshiro.py
"""
MASK = 2**32 - 1


def rotl(x, k):
    return ((x << k) | (x >> (32 - k))) & MASK


s = [1, 2, 3, 4]
outputs = []
for _ in range(10):
    outputs.append(rotl(s[1] * 5 & MASK, 7) * 9 & MASK)
    t = s[1] << 9 & MASK
    s[2] ^= s[0]
    s[3] ^= s[1]
    s[1] ^= s[2]
    s[0] ^= s[3]
    s[2] ^= t
    s[3] = rotl(s[3], 11)
print(outputs)
