"""Self-attention within windows of a map, as in Swin (Liu et al. 2021). Maps are [B, H, W, C]."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.nn import initializers
from jax.typing import DTypeLike

from mtl_jax.layers import transformer
from mtl_jax.layers.initializers import traced_once

# Between pixels that the shift has brought into one window from two ends of the map.
_APART = -100.0
_DRAW = traced_once(initializers.truncated_normal(0.02))


def region_ids(size: tuple[int, int], window: int, shift: tuple[int, int]) -> np.ndarray:
    """[H, W] int: which part of a map, rolled by −shift, may attend to which.

    Along an axis that is shifted there are three parts: what is before the last window, and the
    two in it that were at either end of the map.
    """
    ids = []
    for n, s in zip(size, shift, strict=True):
        axis = np.zeros(n, int)
        if s:
            axis[-window:-s], axis[-s:] = 1, 2
        ids.append(axis)
    return 3 * ids[0][:, None] + ids[1]


def relative_index(window: int) -> np.ndarray:
    """[w², w²] row of the bias table for each (query, key) of a window, both row-major.

    It is (y_q − y_k + w − 1)(2w − 1) + (x_q − x_k + w − 1).
    """
    y, x = np.divmod(np.arange(window * window), window)
    rows, columns = (a[:, None] - a[None] + window - 1 for a in (y, x))
    return rows * (2 * window - 1) + columns


class WindowAttention(nn.Module):
    """Attention within windows w × w, shifted or not, with a learned bias for relative positions.

    The map is padded right and below to whole windows with zeros, whose keys are then the bias of
    the projection; they are attended to, unless the mask of a shift separates them.

    Attributes:
      heads: of width C / heads.
      window: w.
      shifted: by w // 2 in both directions.
      policy: 'dense' shifts a map of a single window too, as segmentation code does; 'torchvision'
        does not, axis by axis. Where every map is larger they agree.
      updates: low-rank ones of both projections.
      dtype: compute type.
    """

    heads: int
    window: int
    shifted: bool
    policy: str = "dense"
    updates: transformer.LowRank = transformer.NO_UPDATES
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        w, (_, height, width, channels) = self.window, x.shape
        x = jnp.pad(x, ((0, 0), (0, -height % w), (0, -width % w), (0, 0)))
        size = x.shape[1:3]
        amount = w // 2 if self.shifted else 0
        shift = tuple(0 if self.policy == "torchvision" and n <= w else amount for n in size)
        if any(shift):
            x = jnp.roll(x, (-shift[0], -shift[1]), axis=(1, 2))
        linear = functools.partial(transformer.Linear, updates=self.updates, dtype=self.dtype)
        qkv = linear(3 * channels, name="qkv")(_cut(x, w), train=train)
        q, k, v = jnp.moveaxis(qkv.reshape(*qkv.shape[:3], 3, self.heads, -1), 3, 0)
        scores = jnp.einsum("bnqhd,bnkhd->bnhqk", q, k, preferred_element_type=jnp.float32)
        scores = scores * (channels // self.heads) ** -0.5 + self._bias()
        if any(shift):
            ids = _cut(region_ids(size, w, shift)[None, :, :, None], w)[0, :, :, 0]
            apart = ids[:, None, :, None] != ids[:, None, None, :]
            scores = scores + jnp.where(apart, _APART, 0.0)
        weights = jax.nn.softmax(scores, axis=-1).astype(self.dtype)
        y = jnp.einsum("bnhqk,bnkhd->bnqhd", weights, v).reshape(*qkv.shape[:3], channels)
        y = linear(channels, name="proj")(y, train=train)
        y = _join(y, size, w)
        if any(shift):
            y = jnp.roll(y, shift, axis=(1, 2))
        return y[:, :height, :width]

    def _bias(self) -> jax.Array:
        """[heads, w², w²]."""
        shape = ((2 * self.window - 1) ** 2, self.heads)
        table = self.param("relative_position_bias_table", _DRAW, shape, jnp.float32)
        return jnp.moveaxis(table[relative_index(self.window)], -1, 0)


def _cut(x, window: int):
    """[B, H, W, C] ─► [B, windows, w², C], windows and pixels row-major."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // window, window, width // window, window, channels)
    return x.swapaxes(2, 3).reshape(batch, -1, window * window, channels)


def _join(x: jax.Array, size: tuple[int, int], window: int) -> jax.Array:
    """Undoes `_cut`."""
    rows, columns = (n // window for n in size)
    x = x.reshape(x.shape[0], rows, columns, window, window, x.shape[-1])
    return x.swapaxes(2, 3).reshape(x.shape[0], *size, x.shape[-1])
