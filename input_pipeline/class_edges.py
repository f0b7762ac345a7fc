"""Edges of a class map, as the training targets of PASCAL-Context are made."""

import numpy as np


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


def thin(mask: np.ndarray) -> np.ndarray:
    """Lines of one pixel that are left of a mask, bool [H, W].

    Guo, Hall: Parallel Thinning with Two-Subiteration Algorithms (CACM 1989), the first of them,
    until nothing changes; what MATLAB calls bwmorph(mask, 'thin', inf).
    """
    mask = mask.astype(bool)
    while True:
        before = mask
        for is_second in (False, True):
            mask = mask & ~_removable(mask, is_second)
        if (mask == before).all():
            return mask


def _removable(mask: np.ndarray, is_second: bool) -> np.ndarray:
    """The pixels that one pass takes away."""
    rows, columns = mask.shape
    padded = np.pad(mask, 1)
    # From east counter-clockwise.
    steps = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
    x = [padded[1 + dy : 1 + dy + rows, 1 + dx : 1 + dx + columns] for dy, dx in steps]
    crossings = sum((~x[i] & (x[i + 1] | x[(i + 2) % 8])).astype(np.int8) for i in range(0, 8, 2))
    one = sum((x[i] | x[i + 1]).astype(np.int8) for i in range(0, 8, 2))
    other = sum((x[i + 1] | x[(i + 2) % 8]).astype(np.int8) for i in range(0, 8, 2))
    fewest = np.minimum(one, other)
    if is_second:
        kept = (x[5] | x[6] | ~x[3]) & x[4]
    else:
        kept = (x[1] | x[2] | ~x[7]) & x[0]
    return (crossings == 1) & (fewest >= 2) & (fewest <= 3) & ~kept
