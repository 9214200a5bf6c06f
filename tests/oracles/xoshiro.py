"""Prints the first outputs of xoshiro128** from the state 1, 2, 3, 4, which tests/random.test.ts expects.

python tests/oracles/xoshiro.py
"""

from order import Random

random = Random(0)
random.state = [1, 2, 3, 4]
print([random.uint32() for _ in range(10)])
