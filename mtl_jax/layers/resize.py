"""Padding, and linear resizes with the conventions that published networks use, of [B, H, W, C]."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mtl_jax.layers import _derivatives, _platform

# Of an array that is made larger by up to 8 times the gradient has 16 or 17 in a row.
_MOST_TAPS = 17


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
    a gather would be a scatter, slow and on a GPU not reproducible. A GPU gathers all the same, and
    for the gradient, too: see `_weighted_sum`. The narrower intermediate result is made first.
    Weights and both products are float32 whatever the type of x, which the result has again: in
    bfloat16 a pixel's weights would no longer sum to 1.
    """
    height, width = size
    dtype = x.dtype
    x = x.astype(jnp.promote_types(dtype, jnp.float32))
    axes = ((x.shape[1], height, 1), (x.shape[2], width, 2))
    for n_in, n_out, axis in sorted(axes, key=lambda sizes: sizes[1] / sizes[0]):
        if n_out != n_in:
            x = _product(_interpolation_matrix(source(n_in, n_out), n_in), x, axis)
    return x.astype(dtype)


def _product(matrix: np.ndarray, x: jax.Array, axis: int) -> jax.Array:
    """matrix [m, n] by the rows (axis 1) or the columns (axis 2) of [B, H, W, C]."""
    if _platform.is_cuda():
        there, back = _Taps(matrix), _Taps(matrix.T)
        if max(there.count, back.count) <= _MOST_TAPS:
            return _weighted_sum(x, axis, there, back)
    equation = "oh,bhwc->bowc" if axis == 1 else "ow,bhwc->bhoc"
    matrix = jnp.asarray(matrix, x.dtype)
    return jnp.einsum(equation, matrix, x, precision=lax.Precision.HIGHEST)


class _Taps:
    """What is not 0 in each row of a matrix [m, n].

    Attributes:
      count: k, the most in a row.
      places, weights: [k, m]; a row with fewer has some of weight 0.
    """

    def __init__(self, matrix: np.ndarray):
        self.count = int((matrix != 0).sum(1).max())
        order = np.argsort(matrix == 0, axis=1, kind="stable")[:, : self.count]
        self.places = order.T
        self.weights = np.take_along_axis(matrix, order, 1).T


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _weighted_sum(x: jax.Array, axis: int, there: _Taps, back: _Taps) -> jax.Array:
    """The product of a matrix of few taps in a row, and its gradient by those of its columns.

    The matrix product turns the array round in a GPU's memory, before and after; this reads it and
    writes the result, and both passes can become one with what is around them.
    """
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    return sum(
        jnp.take(x, places, axis) * jnp.asarray(weights, x.dtype).reshape(shape)
        for places, weights in zip(there.places, there.weights, strict=True)
    )


def _weighted_sum_forward(x, axis, there, back):
    return _weighted_sum(x, axis, there, back), None


def _weighted_sum_backward(axis, there, back, _, gradient):
    return (_weighted_sum(gradient, axis, back, there),)


_derivatives.define(_weighted_sum, _weighted_sum_forward, _weighted_sum_backward)


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
