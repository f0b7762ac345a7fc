"""A split that lies decoded on the devices, where batches are gathered, turned and recoloured.

What is drawn comes from the host, a few numbers per image (`TrainStream.draws` of the input
pipeline): which example, where in it every row and column of the result lies, the flip, the change
of colours. The rules are those of the host's pipeline, `input_pipeline/transforms.py`: nearest
neighbours are the same ones to the last pixel, as their coordinates are whole numbers; grey levels
agree to rounding.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

FRACTION_BITS = 16  # of the coordinates, which are in fixed point
_AXIS = "data"

Arrays = dict[str, jax.Array]
Specs = Mapping[str, Mapping[str, Any]]


def batch(stored: Arrays, draws: Mapping[str, Any], specs: Specs, mesh: Mesh) -> Arrays:
    """The batch that the host's pipeline would have made, but for rounding.

    Args:
      stored: {key: [N, H, W] or [N, H, W, C]}, divided over the mesh.
      draws: of `TrainStream.draws`, [B, ...] each, divided likewise.
      specs: {key: `LabelSpec.as_dict()`}.
      mesh: from `parallel.make_mesh`.

    Returns:
      {key: [B, h, w] or [B, h, w, C]} in the types of the specs, and `valid` bool [B].
    """
    index = draws["index"]
    if mesh.size > 1:
        stored = {key: _fetch(array, index, mesh) for key, array in stored.items()}
        index = jnp.arange(len(index))
    gather = _Gather(index, draws["rows"], draws["columns"], stored["image"].shape[1:3])
    found = {}
    for key, spec in specs.items():
        value = gather(stored[key], spec)
        value = _adapt_values(value, key, spec, draws)
        if spec["kind"] == "image" and "linear" in draws:
            value = _recolour(value, gather.inside, draws)
        found[key] = value
    return found | {"valid": jnp.ones(index.shape, bool)}


class _Gather:
    """Pixels of a batch at points in fixed point, as [B, h, w] of whole numbers."""

    def __init__(self, index, rows, columns, size):
        self._index, self._size = index, size
        self._x, self._y = (rows[:, axis, :, None] + columns[:, axis, None, :] for axis in (0, 1))
        height, width = size
        x, y = self._x >> FRACTION_BITS, self._y >> FRACTION_BITS
        self.inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)

    def __call__(self, array: jax.Array, spec: Mapping[str, Any]) -> jax.Array:
        dtype = spec["dtype"]
        if spec["interpolation"] == "nearest":
            x, y = self._x >> FRACTION_BITS, self._y >> FRACTION_BITS
            return self._filled(self._at(array, x, y).astype(dtype), spec["fill"])
        if spec["invalid"] is not None:
            return self._with_holes(array.astype(jnp.float32), spec)
        value = self._filled(self._between(array), spec["fill"])
        return (jnp.round(value) if dtype == "uint8" else value).astype(dtype)

    def _at(self, array, x, y):
        height, width = self._size
        y, x = jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)
        return array[self._index[:, None, None], y, x]

    def _between(self, array):
        """float32; the last pixels go on beyond their centres, up to the frame."""
        half = 1 << (FRACTION_BITS - 1)
        (x, across), (y, down) = (
            (point - half >> FRACTION_BITS, (point - half) & (2 * half - 1))
            for point in (self._x, self._y)
        )
        like = (..., None) if array.ndim == 4 else ...
        across, down = (jnp.float32(part)[like] / (2 * half) for part in (across, down))
        upper, lower = (
            left + across * (right - left)
            for left, right in (
                [jnp.float32(self._at(array, x + dx, y + dy)) for dx in (0, 1)] for dy in (0, 1)
            )
        )
        return upper + down * (lower - upper)

    def _filled(self, value, fill):
        inside = self.inside[..., None] if value.ndim == 4 else self.inside
        return jnp.where(inside, value, jnp.asarray(fill, value.dtype))

    def _with_holes(self, array, spec):
        """Among valid values only; the result is valid where they have half the weight."""
        planes = array if array.ndim == 4 else array[..., None]
        valid = jnp.any(planes != spec["invalid"], axis=-1, keepdims=True)
        values = self._filled(self._between(jnp.where(valid, planes, 0)), 0)
        weight = self._filled(self._between(jnp.float32(valid)), 0)
        unknown = jnp.float32(spec["invalid"])
        found = jnp.where(weight >= 0.5, values / jnp.maximum(weight, 0.5), unknown)
        return found if array.ndim == 4 else found[..., 0]


def _adapt_values(value, key, spec, draws):
    """Changes what the pixels say, after they were moved."""
    per_image = (slice(None), *[None] * (value.ndim - 1))
    flip = draws["flip"][per_image]
    if key in draws["zoom"]:
        zoomed = value * draws["zoom"][key][per_image]
        unknown = False if spec["invalid"] is None else value == spec["invalid"]
        value = jnp.where(unknown, value, zoomed)
    if spec["flip_swap"]:
        swapped = value
        for left, right in spec["flip_swap"]:
            swapped = jnp.where(value == left, right, jnp.where(value == right, left, swapped))
        value = jnp.where(flip, swapped, value)
    for channel in spec["flip_negate"]:
        mirrored = jnp.where(flip[..., 0], -value[..., channel], value[..., channel])
        value = value.at[..., channel].set(mirrored)
    if spec["vector_xy"]:
        cos, sin = (draws[name][:, None, None] for name in ("cos", "sin"))
        x, y = (value[..., channel] for channel in spec["vector_xy"])
        for channel, turned in zip(spec["vector_xy"], (cos * x + sin * y, cos * y - sin * x)):
            value = value.at[..., channel].set(turned)
    if spec["kind"] == "normals" and spec["interpolation"] == "bilinear":
        length = jnp.linalg.norm(value, axis=-1, keepdims=True)
        value = jnp.where(length > 0, value / jnp.where(length > 0, length, 1), 0)
    return value


def _recolour(image, inside, draws):
    """One affine map of colours about the mean grey of what the photograph shows."""
    red, green, blue = (jnp.int32(image[..., channel]) for channel in range(3))
    grey = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16  # ITU-R BT.601
    pixels = jnp.sum(inside, axis=(1, 2))
    total = jnp.sum(jnp.float32(jnp.sum(jnp.where(inside, grey, 0), axis=2)), axis=1)
    shift = draws["grey_share"] * total / jnp.maximum(pixels, 1)
    linear = draws["linear"][:, None, None]  # [B, 1, 1, 3, 3]
    colours = [jnp.float32(channel)[..., None] for channel in (red, green, blue)]
    mixed = sum(linear[..., k] * colour for k, colour in enumerate(colours))
    changed = jnp.clip(jnp.floor(mixed + shift[:, None, None, None] + 0.5), 0, 255)
    return jnp.where(inside[..., None], changed, image).astype(image.dtype)


def _fetch(array: jax.Array, index: jax.Array, mesh: Mesh) -> jax.Array:
    """Whole images [B, H, W(, C)], each from the device that has it to the one that wants it.

    They travel as bytes, of which all but one device send zeros: the sum is exact in any type.
    """
    split = PartitionSpec(_AXIS)

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(split, split), out_specs=split)
    def fetch(part, wanted):
        wanted = jax.lax.all_gather(wanted, _AXIS, tiled=True)
        own = wanted - jax.lax.axis_index(_AXIS) * len(part)
        here = (own >= 0) & (own < len(part))
        images = part[jnp.where(here, own, 0)]
        images = jax.lax.bitcast_convert_type(images, jnp.uint8)
        images = jnp.where(here[(slice(None), *[None] * (images.ndim - 1))], images, 0)
        images = jax.lax.psum_scatter(images, _AXIS, scatter_dimension=0, tiled=True)
        return jax.lax.bitcast_convert_type(images, part.dtype)

    return fetch(array, index)
