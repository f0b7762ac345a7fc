"""A part of a split, drawn by seed: what training holds out, or all that it keeps."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from input_pipeline._order import permutation

SPLIT = "held_out"  # its name, where a split is asked for
_SERIES = 2**32  # of the orders by which examples are chosen


@dataclasses.dataclass(frozen=True)
class Part:
    """Some examples of a split: those that are held out, or all others.

    Attributes:
      share: of the examples that are held out, between 0 and 1; one at least.
      seed: not negative.
      held_out: whether these are meant, and not the others.
    """

    share: float
    seed: int
    held_out: bool

    def indices(self, size: int) -> np.ndarray:
        """int64, in ascending order, of so many examples those that are meant."""
        count = max(1, round(self.share * size))
        order = permutation(size, self.seed, 0, series=_SERIES)
        return np.sort(order[:count] if self.held_out else order[count:])

    @property
    def words(self) -> str:
        """What comes after the name of the split in a message."""
        return ", what is held out" if self.held_out else ", less what is held out"


class Chosen:
    """Some records of a source of records."""

    def __init__(self, source: Any, indices: np.ndarray):
        """Args: `source` has both of these; `indices` are those of the records that are left."""
        self._source, self._indices = source, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, position: int) -> bytes:
        return self._source[int(self._indices[position])]

    def __getitems__(self, positions: Sequence[int]) -> list[bytes]:
        return self._source.__getitems__(self._indices[list(positions)].tolist())
