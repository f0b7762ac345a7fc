"""Tiles of noise, made once per process from integers."""

import functools

import numpy as np

from input_pipeline.streets.rng import Random

SIZE = 256  # of a tile; a tile repeats without a seam


def _smooth(cells: int, random: Random) -> np.ndarray:
    """Bilinear noise with `cells` cells per side, in [0, 1)."""
    lattice = random.bytes((cells, cells)).astype(np.float64) / 256
    position = np.arange(SIZE) * (cells / SIZE)
    low = np.floor(position).astype(np.int64)
    share = position - low
    share = share * share * (3 - 2 * share)
    high = (low + 1) % cells
    rows = lattice[low] * (1 - share)[:, None] + lattice[high] * share[:, None]
    return rows[:, low] * (1 - share) + rows[:, high] * share


def _octaves(cells: tuple[int, ...], random: Random) -> np.ndarray:
    """Octaves of falling weight, stretched to [0, 1)."""
    total = np.zeros((SIZE, SIZE))
    for k, count in enumerate(cells):
        total = total + _smooth(count, random) * 2.0**-k
    low, high = total.min(), total.max()
    return np.ascontiguousarray((total - low) / (high - low) * (1 - 2.0**-20))


@functools.lru_cache(maxsize=1)
def tiles() -> dict[str, np.ndarray]:
    """`white`, `grain`, `patches`, `clouds` and `fray`: [256, 256] in [0, 1).

    Those that only colour pixels are float32; `fray` decides outlines and is float64.
    """
    random = Random(20, 26)
    white = random.bytes((SIZE, SIZE)).astype(np.float32) / np.float32(256)
    return {
        "white": white,
        "grain": _octaves((128, 256, 64, 32), random).astype(np.float32),
        "patches": _octaves((8, 16, 32, 64, 128), random).astype(np.float32),
        "clouds": _octaves((4, 8, 16, 32, 64), random).astype(np.float32),
        "fray": _octaves((32, 64, 128), random),
    }


def lookup(tile: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The tile's cell under (u, v), in cells."""
    i = np.floor(v).astype(np.intp) & (SIZE - 1)
    j = np.floor(u).astype(np.intp) & (SIZE - 1)
    return np.take(tile, i * SIZE + j)
