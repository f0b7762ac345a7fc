"""What the pixels of an array say, as far as it changes with the geometry they were moved by.

Every change is of arrays [H, W] or [H, W, C] by their `LabelSpec`; what a spec says nothing of is
returned as it is.
"""

import math

import numpy as np

from input_pipeline.labels import LabelSpec


def zoomed(value: np.ndarray, spec: LabelSpec, zoom: float) -> np.ndarray:
    """Depth that a magnification brings nearer, and its like; unknown values stay what they are."""
    if not spec.zoom_power or zoom == 1:
        return value
    changed = value * value.dtype.type(zoom**spec.zoom_power)
    # Nothing times anything is nothing already.
    return np.where(value == spec.invalid, value, changed) if spec.invalid else changed


def mirrored(value: np.ndarray, spec: LabelSpec) -> np.ndarray:
    """Left and right classes swapped, and components along x negated."""
    if spec.flip_swap:
        table = np.arange(max(len(spec.class_names), (spec.ignore or 0) + 1), dtype=value.dtype)
        for left, right in spec.flip_swap:
            table[[left, right]] = right, left
        value = table[value]
    if spec.flip_negate:
        signs = np.ones(spec.channels, value.dtype)
        signs[list(spec.flip_negate)] = -1
        value = value * signs
    return value


def turned(value: np.ndarray, spec: LabelSpec, angle: float) -> np.ndarray:
    """Vectors turned with the image, counter-clockwise as one sees it.

    Args:
      value: [H, W, C].
      spec: its spec.
      angle: in radians.
    """
    if not spec.vector_xy or not angle:
        return value
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = (value[..., channel] for channel in spec.vector_xy)
    result = value.copy()
    result[..., spec.vector_xy[0]] = cos * x + sin * y
    result[..., spec.vector_xy[1]] = cos * y - sin * x
    return result


def of_unit_length(value: np.ndarray) -> np.ndarray:
    """Vectors [H, W, C] divided by their lengths; those of length 0 stay."""
    length = np.linalg.norm(value, axis=-1, keepdims=True)
    return np.divide(value, length, out=np.zeros_like(value), where=length > 0)
