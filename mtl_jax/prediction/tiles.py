"""Overlapping tiles of an image, and the smooth blending of what is predicted of them."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class Tiling:
    """Where the tiles of an image are. All of them are of one shape, and none reaches outside.

    Attributes:
      size: (H, W) of the image.
      shape: (h, w) of every tile, not larger than the image.
      rows, columns: where tiles begin, ascending, the first at 0; the last end with the image.
        There is a tile at each row and column.
    """

    size: tuple[int, int]
    shape: tuple[int, int]
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    def cut(self, image: np.ndarray) -> Iterator[np.ndarray]:
        """The tiles [h, w, ...] of [H, W, ...], row by row."""
        for row in self.rows:
            for column in self.columns:
                yield image[row : row + self.shape[0], column : column + self.shape[1]]

    def blend(self, tiles: Iterable[Mapping[str, np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
        """Blends what is predicted of the tiles, holding no more than a row of them.

        Args:
          tiles: {name: [h, w, C] float} of each tile, in the order of `cut`.

        Yields:
          {name: [n, W, C] float32}: the next n rows of the image, once no more is added to them.
        """
        height, width = self.shape
        starts = (self.rows, self.columns)
        weights = [blending_weights(*args) for args in zip(starts, self.shape, self.size)]
        tiles = iter(tiles)
        window: dict[str, np.ndarray] = {}  # rows from the current tiles' first to their last
        for i, row in enumerate(self.rows):
            for j, column in enumerate(self.columns):
                weight = (weights[0][i][:, None] * weights[1][j])[..., None]
                for name, value in next(tiles).items():
                    if name not in window:
                        shape = (height, self.size[1], value.shape[-1])
                        window[name] = np.zeros(shape, np.float32)
                    window[name][:, column : column + width] += weight * value
            final = (*self.rows, self.size[0])[i + 1] - row
            yield {name: value[:final].copy() for name, value in window.items()}
            for value in window.values():
                value[: height - final] = value[final:].copy()
                value[height - final :] = 0


def plan(size: tuple[int, int], shape: tuple[int, int], overlap: int) -> Tiling:
    """Spreads as few tiles as there can be evenly over an image.

    Args:
      size: (H, W) of the image.
      shape: (h, w) of a tile, not larger.
      overlap: the pixels that neighbours share at least, less than a tile's sides.
    """
    rows, columns = (_starts(*args, overlap) for args in zip(size, shape))
    return Tiling(size, shape, rows, columns)


def blending_weights(starts: tuple[int, ...], tile: int, length: int) -> np.ndarray:
    """How much each tile counts along one axis: a partition of unity.

    Each tile's weight is a Hann window, highest in its middle, where a network sees most of what is
    around; divided by the sum of all that reach a pixel.

    Returns:
      [tiles, tile] float32. The weights of all tiles at a pixel add up to 1.
    """
    window = np.square(np.sin(np.pi * (np.arange(tile) + 0.5) / tile))
    total = np.zeros(length, np.float64)
    for start in starts:
        total[start : start + tile] += window
    return np.stack([window / total[start : start + tile] for start in starts]).astype(np.float32)


def _starts(length: int, tile: int, overlap: int) -> tuple[int, ...]:
    if length == tile:
        return (0,)
    gaps = -(-(length - tile) // (tile - overlap))
    return tuple(i * (length - tile) // gaps for i in range(gaps + 1))
