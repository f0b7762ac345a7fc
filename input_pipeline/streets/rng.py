"""Random numbers that are the same on every machine and with every version of NumPy.

NumPy promises the raw 64-bit stream of a bit generator, not what `Generator`'s methods make of it,
so the scaling is done here: integers first, then one multiplication.
"""

from collections.abc import Sequence

import numpy as np

_BLOCK = 512
_TO_UNIT = 2.0**-53


class Random:
    """A stream of random scalars.

    Args:
      key: non-negative integers; streams of different keys are independent.
    """

    def __init__(self, *key: int):
        self._bits = np.random.PCG64(np.random.SeedSequence(key))
        self._buffer: list[int] = []

    def _unit(self) -> float:
        if not self._buffer:
            self._buffer = (self._bits.random_raw(_BLOCK) >> np.uint64(11)).tolist()
        return self._buffer.pop() * _TO_UNIT

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self._unit()

    def integer(self, n: int) -> int:
        """A number of 0 ... n−1."""
        return int(self._unit() * n)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self._unit() < probability

    def choice(self, items: Sequence, weights: Sequence[float] | None = None):
        """One of `items`, with `weights` that need not add up to 1."""
        if weights is None:
            return items[self.integer(len(items))]
        point = self._unit() * sum(weights)
        for item, weight in zip(items, weights, strict=True):
            point -= weight
            if point < 0:
                return item
        return items[-1]

    def bytes(self, shape: tuple[int, ...]) -> np.ndarray:
        """An array of independent uniform uint8."""
        size = int(np.prod(shape))
        raw = self._bits.random_raw(-(-size // 8))
        return raw.astype("<u8").view(np.uint8)[:size].reshape(shape)
