"""Edges of a class map, as the training targets of PASCAL-Context are made."""

import numpy as np
from scipy import ndimage


def of_classes(ids: np.ndarray) -> np.ndarray:
    """Thin lines where ids differ: bool [H, W].

    They are where the Laplacian of the ids, of four neighbours, is not 0: also where it cancels by
    chance there is none. The border is mirrored without repeating its pixels.

    Args:
      ids: integers [H, W].
    """
    padded = np.pad(ids.astype(np.int64), 1, mode="reflect")
    neighbours = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return thin(neighbours != 4 * ids.astype(np.int64))


def boundaries(ids: np.ndarray) -> np.ndarray:
    """The truth of odsF: bool [H, W], thin lines where an id differs from its neighbour's.

    The neighbours on the right, below and across; it is not the training target of `of_classes`.
    """
    differs = np.zeros(ids.shape, bool)
    differs[:, :-1] |= ids[:, :-1] != ids[:, 1:]
    differs[:-1] |= ids[:-1] != ids[1:]
    differs[:-1, :-1] |= ids[:-1, :-1] != ids[1:, 1:]
    return thin(differs)


def fill(ids: np.ndarray, void: np.ndarray, most: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """(ids of which void pixels have the nearest other pixel's, bool [H, W]: farther than `most`).

    Args:
      ids: [H, W].
      void: [H, W] bool, not all of it.
      most: pixels that a void pixel may be away from what it gets its id from.
    """
    distance, nearest = ndimage.distance_transform_edt(void, return_indices=True)
    return ids[tuple(nearest)], distance > most


def thin(mask: np.ndarray) -> np.ndarray:
    """Lines of one pixel that are left of a mask, bool [H, W].

    Guo, Hall: Parallel Thinning with Two-Subiteration Algorithms (CACM 1989), the first of them,
    until nothing changes; what MATLAB calls bwmorph(mask, 'thin', inf).
    """
    # In C order, as MATLAB's files are not, so that `flat` is no copy.
    padded = np.pad(np.ascontiguousarray(mask, bool), 1)
    flat, row = padded.reshape(-1), padded.shape[1]
    # From east counter-clockwise.
    steps = [1, 1 - row, -row, -1 - row, -1, row - 1, row, row + 1]
    pixels = np.flatnonzero(flat)  # only these can go
    while True:
        before = len(pixels)
        for is_second in (False, True):
            goes = _removable([flat[pixels + step] for step in steps], is_second)
            flat[pixels[goes]] = False
            pixels = pixels[~goes]
        if len(pixels) == before:
            return padded[1:-1, 1:-1].copy()


def _removable(x: list[np.ndarray], is_second: bool) -> np.ndarray:
    """Which pixels one pass takes away, by their eight neighbours, bool [n] each."""
    crossings = sum((~x[i] & (x[i + 1] | x[(i + 2) % 8])).astype(np.int8) for i in range(0, 8, 2))
    one = sum((x[i] | x[i + 1]).astype(np.int8) for i in range(0, 8, 2))
    other = sum((x[i + 1] | x[(i + 2) % 8]).astype(np.int8) for i in range(0, 8, 2))
    fewest = np.minimum(one, other)
    if is_second:
        kept = (x[5] | x[6] | ~x[3]) & x[4]
    else:
        kept = (x[1] | x[2] | ~x[7]) & x[0]
    return (crossings == 1) & (fewest >= 2) & (fewest <= 3) & ~kept
