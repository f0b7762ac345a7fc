"""The order in which an epoch visits its examples."""

import numpy as np


def permutation(size: int, seed: int, epoch: int, series: int = 0) -> np.ndarray:
    """A random order of 0 ... size − 1 that is the same for all time; int64 [size].

    Args:
      size: of the order.
      seed: not negative.
      epoch: not negative.
      series: another one gives other orders. 1 is what augmentations draw from.
    """
    # Sorting raw random numbers, because how NumPy permutes may change between its versions.
    key, counter = np.array([seed, epoch], np.uint64), np.array([0, 0, 0, series], np.uint64)
    philox = np.random.Philox(key=key, counter=counter)
    return np.argsort(philox.random_raw(size), kind="stable")
