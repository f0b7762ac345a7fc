"""The augmentation of two families of papers, step by step, where its order is part of a protocol.

* 'transformer': InvPT and its successors on PASCAL-Context and NYUD-v2 (Ye, Xu: Inverted Pyramid
  Multi-task Transformer, ECCV 2022), after ATRC (Brüggemann et al., ICCV 2021). Zoom, a crop in
  which no class fills three quarters, mirror image, photometric distortion in 8 bits, padding.
* 'survey': Vandenhende et al.: Multi-Task Learning for Dense Prediction Tasks (TPAMI 2021). Mirror
  image, rotation and zoom on one canvas, then everything resized to one size whatever its aspect.

They are modes of `transforms.Augmentation`, whose ranges they draw from, and as there the result is
a pure function of the seed and the example.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import cv2
import numpy as np

from input_pipeline import _values
from input_pipeline.labels import LabelSpec

Example = dict[str, np.ndarray]

DRAWS = 11  # of a crop, until one has enough classes
MOST = 0.75  # of a crop that one class may fill
MEAN = (124, 116, 104)  # ImageNet's, in 8 bits: what padding is, so that it is 0 when normalised


class _Draws:
    """Numbers from [0, 1), one after the other."""

    def __init__(self, uniform: np.ndarray):
        self._numbers: Iterator[float] = iter(uniform.tolist())

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """From [low, high)."""
        return low + (high - low) * next(self._numbers)

    def integer(self, count: int) -> int:
        """From 0 ... count − 1."""
        return int(count * next(self._numbers))

    def half(self) -> bool:
        """True or False."""
        return next(self._numbers) < 0.5


NUMBERS = 2 * DRAWS + 16  # that a recipe draws at most


def transformer(
    example: Mapping[str, np.ndarray],
    specs: Mapping[str, LabelSpec],
    augmentation: Any,
    uniform: np.ndarray,
) -> Example:
    """InvPT's recipe; arguments as of `transforms.augment`, with `NUMBERS` uniform numbers."""
    draws = _Draws(uniform)
    low, high = augmentation.scale or (1.0, 1.0)
    found = _zoomed(example, specs, draws.uniform(low, high))
    size = augmentation.crop or next(iter(example.values())).shape[:2]
    found = _balanced_crop(found, specs, size, augmentation.balanced_by, draws)
    if draws.uniform() < augmentation.flip:
        found = {key: _mirrored(value, specs[key]) for key, value in found.items()}
    for key, spec in specs.items():
        if spec.kind == "image" and key in found:
            found[key] = distort(found[key], augmentation, draws)
    found = {key: _padded(value, specs[key], size) for key, value in found.items()}
    return _without_empty(found, specs, augmentation.empty_is_unlabelled)


def survey(
    example: Mapping[str, np.ndarray],
    specs: Mapping[str, LabelSpec],
    augmentation: Any,
    uniform: np.ndarray,
) -> Example:
    """The survey's recipe; arguments as of `transformer`.

    Corners that a rotation uncovers are 0, as there: background, and not unknown.
    """
    draws = _Draws(uniform)
    found = dict(example)
    if draws.uniform() < augmentation.flip:
        found = {key: _mirrored(value, specs[key]) for key, value in found.items()}
    degrees = draws.uniform(-augmentation.rotate, augmentation.rotate)
    if augmentation.scales:
        zoom = augmentation.scales[draws.integer(len(augmentation.scales))]
    else:
        zoom = draws.uniform(*(augmentation.scale or (1.0, 1.0)))
    size = augmentation.crop or next(iter(example.values())).shape[:2]
    for key, value in found.items():
        found[key] = _turned(value, specs[key], degrees, zoom, size)
    return _without_empty(found, specs, augmentation.empty_is_unlabelled)


def _zoomed(example: Mapping[str, np.ndarray], specs, scale: float) -> Example:
    height, width = next(iter(example.values())).shape[:2]
    size = (max(int(scale * height), 1), max(int(scale * width), 1))
    found = {}
    for key, value in example.items():
        kind = cv2.INTER_LINEAR if specs[key].kind == "image" else cv2.INTER_NEAREST
        found[key] = _values.zoomed(_resized(value, size, kind), specs[key], scale)
    return found


def _resized(value: np.ndarray, size: tuple[int, int], kind: int) -> np.ndarray:
    return value if value.shape[:2] == size else cv2.resize(value, size[::-1], interpolation=kind)


def _balanced_crop(
    example: Example,
    specs: Mapping[str, LabelSpec],
    size: tuple[int, int],
    balanced_by: str,
    draws: _Draws,
) -> Example:
    """A window of `size`, a shorter side whole, in which one class of `balanced_by` is not most.

    The window is drawn again up to ten times until it has two classes and the largest of them less
    than three quarters of what is labelled; else the last one stays.
    """
    height, width = next(iter(example.values())).shape[:2]
    room = max(height - size[0], 0), max(width - size[1], 0)
    tries = [(draws.integer(room[0] + 1), draws.integer(room[1] + 1)) for _ in range(DRAWS)]
    if balanced_by not in example:
        tries = tries[:1]
    for top, left in tries:
        rows, columns = slice(top, top + size[0]), slice(left, left + size[1])
        if balanced_by in example:
            ids = example[balanced_by][rows, columns]
            counts = np.unique(ids[ids != specs[balanced_by].ignore], return_counts=True)[1]
            if len(counts) > 1 and counts.max() < MOST * counts.sum():
                break
    return {key: value[rows, columns] for key, value in example.items()}


def _mirrored(value: np.ndarray, spec: LabelSpec) -> np.ndarray:
    return _values.mirrored(np.ascontiguousarray(value[:, ::-1]), spec)


def distort(image: np.ndarray, augmentation: Any, draws: _Draws) -> np.ndarray:
    """Brightness, contrast, saturation and hue, each with a probability of a half, in 8 bits.

    Contrast comes before or after the two that are changed in HSV, with equal probability. Every
    step is rounded down and clipped to 0 ... 255.

    Args:
      image: uint8 [H, W, 3], RGB.
      augmentation: `brightness` (of 255 that may be added or taken away), `contrast` and
        `saturation` (how far the factor may be from 1), `hue` in turns.
      draws: nine numbers are taken, whatever they turn out to be.
    """

    def changed(value, factor, shift=0.0):
        return np.clip(value.astype(np.float32) * factor + shift, 0, 255).astype(np.uint8)

    shift = draws.uniform(-augmentation.brightness, augmentation.brightness) * 255
    factors = {
        name: draws.uniform(1 - getattr(augmentation, name), 1 + getattr(augmentation, name))
        for name in ("contrast", "saturation")
    }
    steps = round(180 * augmentation.hue)  # hue has 180 values in 8 bits
    turn = draws.integer(2 * steps) - steps if steps else 0
    brighter, contrasted, saturated, turned, first = (draws.half() for _ in range(5))
    if brighter and augmentation.brightness:
        image = changed(image, 1.0, shift)
    if contrasted and first and augmentation.contrast:
        image = changed(image, factors["contrast"])
    if (saturated and augmentation.saturation) or (turned and steps):
        hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV)
        if saturated:
            hsv[..., 1] = changed(hsv[..., 1], factors["saturation"])
        if turned:
            hsv[..., 0] = (hsv[..., 0].astype(int) + turn) % 180
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if contrasted and not first and augmentation.contrast:
        image = changed(image, factors["contrast"])
    return image


def _padded(value: np.ndarray, spec: LabelSpec, size: tuple[int, int]) -> np.ndarray:
    """Centred in a frame of `size`, the odd pixel at the bottom and on the right."""
    missing = [want - have for want, have in zip(size, value.shape[:2])]
    if not any(missing):
        return np.ascontiguousarray(value)
    frame = np.empty((*size, *value.shape[2:]), value.dtype)
    frame[:] = MEAN if spec.kind == "image" else spec.fill
    top, left = (n // 2 for n in missing)
    frame[top : top + value.shape[0], left : left + value.shape[1]] = value
    return frame


def _without_empty(example: Example, specs: Mapping[str, LabelSpec], keys) -> Example:
    """Class maps of which nothing but class 0 is left are unlabelled as a whole."""
    for key in keys:
        if key in example:
            value, ignore = example[key], specs[key].ignore
            if not ((value != 0) & (value != ignore)).any():
                example[key] = np.full_like(value, ignore)
    return example


def stretched(value: np.ndarray, spec: LabelSpec, size: tuple[int, int]) -> np.ndarray:
    """An array of an example, resized to (height, width) whatever its aspect: the survey's way."""
    return _turned(value, spec, 0.0, 1.0, size)


def _turned(
    value: np.ndarray, spec: LabelSpec, degrees: float, zoom: float, size: tuple[int, int]
) -> np.ndarray:
    """Turned counter-clockwise and zoomed about the centre on the same canvas, then resized."""
    smooth = spec.kind in ("image", "normals")
    kind = cv2.INTER_CUBIC if smooth else cv2.INTER_NEAREST
    height, width = value.shape[:2]
    # On whole pixels: OpenCV has no 32-bit integers, and ids are exact in float32.
    moved = value.astype(np.float32) if value.dtype == np.int32 else value
    if degrees or zoom != 1:
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, zoom)
        moved = cv2.warpAffine(moved, matrix, (width, height), flags=kind)
    moved = _resized(moved, size, kind).astype(value.dtype)
    moved = _values.turned(_values.zoomed(moved, spec, zoom), spec, math.radians(degrees))
    if spec.kind == "normals":
        moved = _values.of_unit_length(moved)
    return np.ascontiguousarray(moved)


RECIPES: dict[str, Callable[..., Example]] = {"transformer": transformer, "survey": survey}
