"""What is drawn for a batch, as numbers for a device that holds the decoded examples itself.

`mtl_jax.resident` makes the same batch of them as `transforms.augment` does, but for rounding.
"""

import math
from collections.abc import Mapping

import numpy as np

from input_pipeline import colours, recipes, transforms
from input_pipeline.errors import OptionError
from input_pipeline.labels import LabelSpec


def of_batch(
    indices: np.ndarray,
    seeds: np.ndarray,
    specs: Mapping[str, LabelSpec],
    augmentation: transforms.Augmentation,
    height_width: tuple[int, int],
) -> dict[str, np.ndarray | dict[str, np.ndarray]]:
    """The draws of `transforms.augment` for B examples of one size.

    Args:
      indices: [B], which examples.
      seeds: [B, 2], of `augment`.
      specs: of every key.
      augmentation: what to draw; its mode has to be 'composed'.
      height_width: size of the examples.

    Returns:
      index: int32 [B].
      rows, columns: int32 [B, 2, h] and [B, 2, w], `transforms.fixed_point`, x first.
      flip: bool [B].
      zoom: {key: float32 [B]}, what the values of these keys are multiplied by.
      cos, sin: float32 [B], of the angle.
      linear, grey_share: float32 [B, 3, 3] and [B], `colours.colour_change`, if colours change.

    Raises:
      OptionError: the mode is another; or images are shrunk so much that a window is wider than
        32,767 of their pixels.
    """
    recipe = augmentation.mode in recipes.RECIPES
    if recipe or (augmentation.warps and augmentation.mode != "composed"):
        raise OptionError(
            f"config.data.augment.mode={augmentation.mode!r} is made by the host only; resident "
            "data need 'composed'."
        )
    drawn = [transforms.draw(augmentation, tuple(seed.tolist()), height_width) for seed in seeds]
    geometries = [geometry for geometry, _ in drawn]
    rows, columns = zip(
        *(transforms.fixed_point(transforms.output_to_input(g), g.size) for g in geometries)
    )
    found: dict[str, np.ndarray | dict[str, np.ndarray]] = {
        "index": np.asarray(indices, np.int32),
        "rows": _int32(rows),
        "columns": _int32(columns),
        "flip": np.array([g.flip for g in geometries]),
        "zoom": {
            key: np.float32([g.zoom**spec.zoom_power for g in geometries])
            for key, spec in specs.items()
            if spec.zoom_power and augmentation.scale is not None
        },
        "cos": np.float32([math.cos(g.angle) for g in geometries]),
        "sin": np.float32([math.sin(g.angle) for g in geometries]),
    }
    if augmentation.recolours:
        linear, shares = zip(*(colours.colour_change(augmentation, u) for _, u in drawn))
        found |= {"linear": np.float32(linear), "grey_share": np.float32(shares)}
    return found


def _int32(parts) -> np.ndarray:
    """A sum of two of them is to fit as well."""
    parts = np.array(parts)
    if np.abs(parts).max() >= 2**30:
        raise OptionError(
            "config.data.augment.scale shrinks images so much that a window of "
            "config.data.augment.crop is wider than 32,767 of their pixels; make either smaller."
        )
    return parts.astype(np.int32)
