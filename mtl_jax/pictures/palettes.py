"""Colours that can be told apart, also by those who see two kinds of cones.

Black, white and greys are left out: they are the letters, the paper and "no label".
"""

import functools

import numpy as np

# Linear sRGB as seen without red or green cones: Machado, Oliveira and Fernandes 2009, severity 1.
_PROTANOPIA = (
    (0.152286, 1.052583, -0.204868),
    (0.114503, 0.786281, 0.099216),
    (-0.003882, -0.048116, 1.051998),
)
_DEUTERANOPIA = (
    (0.367322, 0.860646, -0.227968),
    (0.280085, 0.672501, 0.047413),
    (-0.011820, 0.042940, 0.968881),
)
_SRGB_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
_WHITE = (0.95047, 1.0, 1.08883)  # D65
_FIRST = (0, 114, 178)  # the blue of Okabe and Ito
_LEVELS = np.linspace(0, 255, 16).round()
_LEAST_CHROMA = 30.0
_LIGHTNESS = (30.0, 92.0)


@functools.lru_cache(maxsize=8)
def distinct(count: int) -> tuple[tuple[int, int, int], ...]:
    """RGB colours as different from each other, from black, white and grey, as they can be.

    Each is the candidate whose least distance to those before it is greatest (Glasbey et al. 2007),
    where a distance is the least of those in CIELAB for normal, protanopic and deuteranopic eyes.
    The first ones are the same for every count.

    Args:
      count: of colours; beyond 256 they come again.

    Returns:
      `count` triples of 0 ... 255.
    """
    if count > 256:
        return distinct(256) + distinct(count - 256)
    grid = np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS, indexing="ij"), -1).reshape(-1, 3)
    lab = to_lab(grid)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    low, high = _LIGHTNESS
    candidates = grid[(chroma >= _LEAST_CHROMA) & (lab[:, 0] >= low) & (lab[:, 0] <= high)]
    seen = _as_seen(candidates)
    greys = _as_seen(np.array([[0] * 3, [128] * 3, [255] * 3], np.float64))
    nearest = np.min([_distance(seen, greys[:, i]) for i in range(3)], axis=0)
    chosen = [np.array(_FIRST, np.float64)]
    while len(chosen) < count:  # the first is there whatever the count
        nearest = np.minimum(nearest, _distance(seen, _as_seen(chosen[-1][None])[:, 0]))
        chosen.append(candidates[np.argmax(nearest.round(6))])
    return tuple(tuple(int(channel) for channel in colour) for colour in chosen[:count])


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of [..., 3] sRGB colours, 0 ... 255."""
    return _lab_of_linear(_linear(rgb))


def as_seen_without(kind: str, rgb: np.ndarray) -> np.ndarray:
    """CIELAB of [..., 3] sRGB colours, 0 ... 255, for 'protanopia' or 'deuteranopia'."""
    matrix = {"protanopia": _PROTANOPIA, "deuteranopia": _DEUTERANOPIA}[kind]
    return _lab_of_linear(np.clip(_linear(rgb) @ np.array(matrix).T, 0, 1))


def _as_seen(rgb: np.ndarray) -> np.ndarray:
    """[3, n, 3] CIELAB for normal, protanopic and deuteranopic eyes."""
    return np.stack(
        [to_lab(rgb), *(as_seen_without(k, rgb) for k in ("protanopia", "deuteranopia"))]
    )


def _distance(seen: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """[n]: of [3, n, 3] to [3, 3], the least over the kinds of eyes."""
    return np.linalg.norm(seen - colour[:, None], axis=-1).min(axis=0)


def _linear(rgb: np.ndarray) -> np.ndarray:
    value = np.asarray(rgb, np.float64) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _lab_of_linear(linear: np.ndarray) -> np.ndarray:
    ratio = linear @ np.array(_SRGB_TO_XYZ).T / _WHITE
    small = ratio <= (6 / 29) ** 3
    x, y, z = np.moveaxis(
        np.where(small, ratio * (29 / 6) ** 2 / 3 + 4 / 29, np.cbrt(ratio)), -1, 0
    )
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
