"""Padding, and linear resizes with the conventions that published networks use, of [B, H, W, C]."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def resize_bilinear(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """Half-pixel bilinear resize of [B, h, w, C] to [B, H, W, C], never antialiased.

    Output pixel i reads at (i + ½)·h/H − ½, clamped to the frame: PyTorch's `interpolate` with
    `align_corners=False`, in both directions (`jax.image.resize` smooths when it shrinks).
    """

    def source(n_in: int, n_out: int) -> np.ndarray:
        return (np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5

    return _resize_linear(x, size, source)


def resize_bilinear_align_corners(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """Bilinear resize of [B, h, w, C] that maps corner pixels onto corner pixels.

    Output pixel i reads at i·(h − 1)/(H − 1): `align_corners=True`. A side of one pixel reads at 0.
    """

    def source(n_in: int, n_out: int) -> np.ndarray:
        return np.arange(n_out) * ((n_in - 1) / max(n_out - 1, 1))

    return _resize_linear(x, size, source)


def resize_bilinear_tf1(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """TensorFlow 1's bilinear resize of [B, h, w, C]: output pixel i reads at i·h/H, unshifted."""

    def source(n_in: int, n_out: int) -> np.ndarray:
        return np.arange(n_out) * (n_in / n_out)

    return _resize_linear(x, size, source)


def pad_to(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """Repeats the last row and column of [B, h, w, C] until its size is (H, W)."""
    bottom, right = (large - small for large, small in zip(size, x.shape[1:3], strict=True))
    return jnp.pad(x, ((0, 0), (0, bottom), (0, right), (0, 0)), mode="edge")


def _resize_linear(x: jax.Array, size: Sequence[int], source) -> jax.Array:
    """Separable linear interpolation at the rows and columns that `source(n_in, n_out)` gives.

    Two products with small constant matrices: their gradient is two more products, where that of
    a gather would be a scatter, slow and on a GPU not reproducible. The narrower intermediate
    result is made first. Weights and both products are float32 whatever the type of x, which the
    result has again: in bfloat16 a pixel's weights would no longer sum to 1.
    """
    height, width = size
    dtype = x.dtype
    x = x.astype(jnp.promote_types(dtype, jnp.float32))
    for n_in, n_out, equation in sorted(
        (
            (x.shape[1], height, "oh,bhwc->bowc"),
            (x.shape[2], width, "ow,bhwc->bhoc"),
        ),
        key=lambda axis: axis[1] / axis[0],
    ):
        if n_out != n_in:
            matrix = jnp.asarray(_interpolation_matrix(source(n_in, n_out), n_in), x.dtype)
            x = jnp.einsum(equation, matrix, x, precision=lax.Precision.HIGHEST)
    return x.astype(dtype)


def _interpolation_matrix(position: np.ndarray, n_in: int) -> np.ndarray:
    """[len(position), n_in] float64 weights of linear interpolation, clamped at the ends."""
    position = np.clip(position, 0, n_in - 1)
    low = np.minimum(position.astype(np.int64), max(n_in - 2, 0))
    weight = position - low
    rows = np.arange(len(position))
    matrix = np.zeros((len(position), n_in))
    matrix[rows, low] = 1 - weight
    matrix[rows, np.minimum(low + 1, n_in - 1)] += weight
    return matrix
