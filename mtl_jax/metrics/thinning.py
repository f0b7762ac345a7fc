"""Thinning of binary masks to lines of one pixel, in NumPy (Guo and Hall 1989).

It is what MATLAB calls `bwmorph(mask, 'thin', inf)` and scikit-image `morphology.thin`; Zhang and
Suen's rule and skeletons give other lines.
"""

import functools

import numpy as np


def thin(mask: np.ndarray) -> np.ndarray:
    """Thins [H, W] bool until nothing changes; what is outside the frame is background.

    In each of two passes those pixels go, all at once, whose neighbourhood the rules G1 to G3 of
    the paper allow to go.
    """
    mask = np.pad(np.ascontiguousarray(mask, bool), 1)  # so that `flat` is no copy of it
    first, second = _removable()
    # Only what a pass can change is looked at: the set shrinks with every removal.
    rows, columns = np.nonzero(mask)
    flat = mask.reshape(-1)
    width = mask.shape[1]
    pixels = rows * width + columns
    offsets = np.array([dy * width + dx for dy, dx in _NEIGHBOURS])
    while True:
        before = len(pixels)
        for removable in (first, second):
            code = flat[pixels[:, None] + offsets] @ _POWERS
            goes = removable[code]
            flat[pixels[goes]] = False
            pixels = pixels[~goes]
        if len(pixels) == before:
            return mask[1:-1, 1:-1].copy()


# x1 ... x8 of the paper: east, then counter-clockwise; (row, column) offsets.
_NEIGHBOURS = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
_POWERS = 1 << np.arange(8)


@functools.cache
def _removable() -> tuple[np.ndarray, np.ndarray]:
    """[256] bool of either pass, by the neighbours' bits: may the pixel in their midst go?"""
    x = (np.arange(256)[:, None] & _POWERS > 0).T  # x[i] is the paper's x_{i+1}
    pairs = [(x[2 * i], x[2 * i + 1], x[(2 * i + 2) % 8]) for i in range(4)]
    g1 = sum((~a & (b | c)).astype(int) for a, b, c in pairs) == 1
    fewest = np.minimum(
        sum((a | b).astype(int) for a, b, _ in pairs),
        sum((b | c).astype(int) for _, b, c in pairs),
    )
    g2 = (fewest >= 2) & (fewest <= 3)
    x1, x2, x3, x4, x5, x6, x7, x8 = x
    first = g1 & g2 & ~((x2 | x3 | ~x8) & x1)
    second = g1 & g2 & ~((x6 | x7 | ~x4) & x5)
    return first, second
