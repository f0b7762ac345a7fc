"""Predictions of an image that was stretched for the network, at the image's own size.

Vandenhende et al. (Multi-Task Learning for Dense Prediction Tasks, TPAMI 2021) measure so: classes
go to the nearest pixel, all else is interpolated linearly as what a file of it would say. Images of
all sizes share a frame, in whose top left corner they are, so nothing is compiled anew for each.
"""

from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
from jax import lax

from mtl_jax.errors import ConfigError
from mtl_jax.tasks import Task

# What `input_pipeline.pipeline.EvalStream` has in a batch that is measured so.
STRETCHED = "stretched"  # uint8 [B, h, w, 3], what the network sees
SIZE = "own_size"  # int32 [B, 2], height and width of the images in their frames


def check(tasks: Mapping[str, Task]) -> None:
    """Raises ConfigError if the maps of a task cannot be resized."""
    if unfit := [name for name, task in tasks.items() if not task.resized_by]:
        raise ConfigError(
            "config.eval.resize_back=True: expected tasks whose maps can be resized, found "
            f"{', '.join(unfit)}: offsets, in pixels, would have to change with each axis. Leave "
            "resize_back False, or evaluate a run without."
        )


def resized(
    tasks: Mapping[str, Task],
    predictions: Mapping[str, jax.Array],
    size: jax.Array,
    frame: Iterable[int],
) -> dict[str, jax.Array]:
    """Predictions of one image at its own size, in the top left corner of a frame.

    Args:
      tasks: {name: Task}.
      predictions: {name: [1, h, w, C]} of the stretched image.
      size: int32 [2], the image's own height and width, possibly traced.
      frame: (H, W), at least as large.

    Returns:
      {name: [1, H, W, C]}. Beyond the image the last row and column are repeated.
    """
    found = {}
    for name, task in tasks.items():
        value = predictions[name]
        if task.resized_by == "nearest":
            for axis, length in enumerate(frame):
                value = _nearest(value, axis + 1, size[axis], length)
        else:
            value = task.to_resize(value)
            for axis, length in enumerate(frame):
                value = _linear(value, axis + 1, size[axis], length)
            value = task.from_average(value)
        found[name] = value
    return found


def _nearest(x: jax.Array, axis: int, size: jax.Array, length: int) -> jax.Array:
    """Pixel i is what was at ⌊i·n / size⌋, of n."""
    n = x.shape[axis]
    return jnp.take(x, jnp.minimum(jnp.arange(length) * n // size, n - 1), axis=axis)


def _linear(x: jax.Array, axis: int, size: jax.Array, length: int) -> jax.Array:
    """Pixel i is read at (i + ½)·n / size − ½, of n, clamped to what is there."""
    n = x.shape[axis]
    position = jnp.clip((jnp.arange(length) + 0.5) * (n / size) - 0.5, 0, n - 1)
    weights = jnp.maximum(1.0 - jnp.abs(position[:, None] - jnp.arange(n)), 0.0)
    out = jnp.tensordot(x, weights, axes=(axis, 1), precision=lax.Precision.HIGHEST)
    return jnp.moveaxis(out, -1, axis)
