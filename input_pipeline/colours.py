"""Random changes of colour; see `transforms`."""

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from input_pipeline.transforms import Augmentation

# Luma and the two chroma axes of NTSC; its first row are the weights of ITU-R BT.601.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def recolour(
    image: np.ndarray, augmentation: "Augmentation", uniform: np.ndarray, inside: np.ndarray
) -> np.ndarray:
    """Changes brightness, contrast, saturation and hue: one affine map of colours, clipped once.

    Args:
      image: uint8 [h, w, 3].
      augmentation: the ranges.
      uniform: from [0, 1), for the four changes.
      inside: bool [h, w]. Their mean grey is the centre of the contrast change; pixels outside
        keep their value.
    """
    linear, grey_share = colour_change(augmentation, uniform)
    picture = Image.fromarray(np.ascontiguousarray(image))
    grey = np.asarray(picture.convert("L"))[inside]
    shift = grey_share * (grey.mean() if grey.size else 0)
    matrix = np.column_stack([linear, np.full(3, shift)])
    changed = np.asarray(picture.convert("RGB", tuple(matrix.ravel())))
    return changed if inside.all() else np.where(inside[..., None], changed, image)


def colour_change(augmentation: "Augmentation", uniform: np.ndarray) -> tuple[np.ndarray, float]:
    """The map of `recolour`: a matrix [3, 3], and the share of the mean grey that is added."""
    strengths = [getattr(augmentation, f) for f in ("brightness", "contrast", "saturation")]
    brightness, contrast, saturation = 1 + np.array(strengths) * (2 * uniform[:3] - 1)
    turn = 2 * math.pi * augmentation.hue * (2 * uniform[3] - 1)
    cos, sin = math.cos(turn), math.sin(turn)
    chroma = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    grey_of_all = np.tile(_YIQ[0], (3, 1))
    saturate = saturation * np.eye(3) + (1 - saturation) * grey_of_all
    linear = np.linalg.inv(_YIQ) @ chroma @ _YIQ @ saturate * contrast * brightness
    return linear, (1 - contrast) * brightness
