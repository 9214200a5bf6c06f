"""The library's seeded order of rows, written anew: xoshiro128** (https://prng.di.unimi.it/) seeded by splitmix32,
Fisher and Yates' shuffle."""

import math

MASK = 2**32 - 1


class Random:
    def __init__(self, seed):
        self.state = []
        for _ in range(4):
            seed = (seed + 0x9E3779B9) & MASK
            z = (seed ^ (seed >> 16)) * 0x21F0AAAD & MASK
            z = (z ^ (z >> 15)) * 0x735A2D97 & MASK
            self.state.append(z ^ (z >> 15))

    def uint32(self):
        s = self.state
        turn = lambda x, k: (x << k | x >> (32 - k)) & MASK
        result = turn(s[1] * 5 & MASK, 7) * 9 & MASK
        t = s[1] << 9 & MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = turn(s[3], 11)
        return result

    def uniform(self):
        high, low = self.uint32() >> 5, self.uint32() >> 6
        return (high * 2**26 + low) / 2**53

    def normal(self):
        """Marsaglia's polar method; the second number of each pair is thrown away."""
        while True:
            x, y = 2 * self.uniform() - 1, 2 * self.uniform() - 1
            square = x * x + y * y
            if 0 < square < 1:
                return x * math.sqrt(-2 * math.log(square) / square)

    def integer(self, n):
        while True:
            bits = self.uint32()
            if bits < 2**32 - 2**32 % n:
                return bits % n

    def shuffle(self, items):
        items = list(items)
        for last in range(len(items) - 1, 0, -1):
            other = self.integer(last + 1)
            items[last], items[other] = items[other], items[last]
        return items


def batches(rows, batch_size, count, seed=0):
    """`count` batches of row numbers: epoch after epoch, running on over their ends."""
    seeds = Random(seed)
    order = []
    while len(order) < batch_size * count:
        order += Random(seeds.uint32()).shuffle(range(rows))
    return [order[batch_size * n : batch_size * (n + 1)] for n in range(count)]
