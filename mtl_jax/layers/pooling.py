"""Pooling that the networks of reports C and D need beside `layers.max_pool`.

Arrays are [B, H, W, C]. "Ceil mode" is PyTorch's: a last partial window counts, over the pixels
that it has.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from mtl_jax.errors import UsageError


def max_pool_ceil(x: jax.Array, window: int, stride: int, padding: int = 0) -> jax.Array:
    """Max-pooling over window × window in ceil mode, −∞ outside the frame.

    Returns:
      [B, n(H), n(W), C], n(H) = ⌈(H + 2·padding − window)/stride⌉ + 1, one less where the last
      window would begin outside of the frame and its first padding.

    Raises:
      UsageError: a side is too short for any window.
    """
    pads = []
    for side in x.shape[1:3]:
        count = -(-(side + 2 * padding - window) // stride) + 1
        if (count - 1) * stride >= side + padding:
            count -= 1
        if count < 1:
            raise UsageError(
                f"Pooling over {window}×{window} with padding {padding} has no window in features "
                f"of {x.shape[1]}×{x.shape[2]} pixels; use larger images."
            )
        pads.append((padding, max(0, (count - 1) * stride + window - side - padding)))
    return nn.max_pool(x, (window, window), (stride, stride), pads)


def average_pool_valid(x: jax.Array, window: int) -> jax.Array:
    """Mean over window × window, stride 1, no padding: [B, H − window + 1, W − window + 1, C].

    Raises:
      UsageError: a side is shorter than the window.
    """
    if min(x.shape[1:3]) < window:
        raise UsageError(
            f"Average pooling over {window}×{window} needs features at least that large, and these "
            f"have {x.shape[1]}×{x.shape[2]}; use larger images."
        )
    return _average_pool(x, (window, window), (1, 1))


def average_pool_ceil(x: jax.Array, window: int) -> jax.Array:
    """Mean over window × window, stride `window`, ceil mode: [B, ⌈H/window⌉, ⌈W/window⌉, C]."""
    pads = [(0, -side % window) for side in x.shape[1:3]]
    sides = (window, window)
    return _average_pool(x, sides, sides, pads, count_include_pad=False)


def _average_pool(x: jax.Array, *args, **options) -> jax.Array:
    """As Flax's, which sums in the type of x; in bfloat16 such a sum stops at 256 equal numbers."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return nn.avg_pool(wide, *args, **options).astype(x.dtype)


def average_pool_2x2(x: jax.Array) -> jax.Array:
    """Mean over 2×2 with stride 2, ceil mode: [B, ⌈H/2⌉, ⌈W/2⌉, C]."""
    return average_pool_ceil(x, 2)


def max_pool_2x2(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Max-pooling over 2×2 with stride 2, ceil mode, that remembers where the maxima were.

    The position takes the place of PyTorch's flat index: it is a quarter of its size and makes
    unpooling a matter of three selections instead of a scatter.

    Returns:
      pooled: [B, ⌈H/2⌉, ⌈W/2⌉, C].
      position: int8 of the same shape, 0 to 3 for the top left, top right, bottom left and bottom
        right pixel; of equal pixels the first, which alone receives the gradient.
    """
    height, width = x.shape[1:3]
    pads = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
    x = jnp.pad(x, pads, constant_values=-jnp.inf)
    pooled = x[:, ::2, ::2]
    position = jnp.zeros(pooled.shape, jnp.int8)
    for index, (row, column) in enumerate(((0, 1), (1, 0), (1, 1)), start=1):
        other = x[:, row::2, column::2]
        larger = (other > pooled) | jnp.isnan(other)
        pooled = jnp.where(larger, other, pooled)
        position = jnp.where(larger, jnp.int8(index), position)
    return pooled, position


def max_unpool_2x2(x: jax.Array, position: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Writes each pixel to the position that `max_pool_2x2` gave, zeros elsewhere.

    Args:
      x: [B, h, w, C].
      position: int8 [B, h, w, C].
      size: (H, W) of what was pooled; h = ⌈H/2⌉, w = ⌈W/2⌉.

    Returns:
      [B, H, W, C].

    Raises:
      ValueError: the shapes do not fit each other.
    """
    batch, height, width, channels = x.shape
    expected = (batch, -(-size[0] // 2), -(-size[1] // 2), channels)
    if x.shape != expected or position.shape != expected:
        raise ValueError(
            f"Unpooling to {size} needs features and positions of shape {expected}, found "
            f"{x.shape} and {position.shape}."
        )

    def row(first: int) -> jax.Array:
        pixels = [jnp.where(position == index, x, 0) for index in (first, first + 1)]
        return jnp.stack(pixels, axis=3).reshape(batch, height, 2 * width, channels)

    rows = jnp.stack([row(0), row(2)], axis=2)
    return rows.reshape(batch, 2 * height, 2 * width, channels)[:, : size[0], : size[1]]
