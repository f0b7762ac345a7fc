"""Max-pooling, exact, in the form that the hardware computes fast.

XLA computes all of it well on a GPU. On a CPU its gradient pools the pixels' indices along with the
pixels and then scatters to them, which takes several times as long as the pooling. There each pixel
of a window is compared with the maximum instead, and nothing is scattered.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

Padding = tuple[int, int]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def max_pool(x: jax.Array, window: int, stride: int, padding: tuple[Padding, Padding]) -> jax.Array:
    """Maximum over window × window of x [B, H, W, C], −∞ outside the frame.

    Of equal maxima the first in row-major order receives the gradient.

    Args:
      padding: before and behind, of rows and of columns.

    Returns:
      [B, h, w, C] with h = ⌊(H + sum(padding[0]) − window) / stride⌋ + 1.
    """
    return nn.max_pool(x, (window, window), (stride, stride), padding)


def _forward(x, window, stride, padding):
    y = max_pool(x, window, stride, padding)
    return y, (x, y)


def _backward(window, stride, padding, residuals, gradient):
    def plain(gradient, x, y):
        del y
        return jax.vjp(lambda x: max_pool.fun(x, window, stride, padding), x)[1](gradient)[0]

    on_cpu = functools.partial(
        _gradient_by_comparison, window=window, stride=stride, padding=padding
    )
    return (lax.platform_dependent(gradient, *residuals, cpu=on_cpu, default=plain),)


max_pool.defvjp(_forward, _backward)


def _gradient_by_comparison(gradient, x, y, *, window, stride, padding):
    """Gradient of the image, without a scatter.

    Args:
      gradient: with respect to y.
      x: what was pooled, [B, H, W, C].
      y: the maxima, [B, h, w, C].

    Returns:
      [B, H, W, C].
    """
    batch, height, width, channels = y.shape
    rows, columns = ((n - 1) * stride + 1 for n in (height, width))
    frame = _fit(x, [p[0] for p in padding], (rows + window - 1, columns + window - 1), -jnp.inf)
    position = jnp.full(y.shape, -1, jnp.int8)
    for index in reversed(range(window * window)):  # so that the first of equals is written last
        i, j = divmod(index, window)
        pixel = frame[:, i : i + rows : stride, j : j + columns : stride]
        position = jnp.where(pixel == y, jnp.int8(index), position)

    # Row stride·q + r of the frame is row stride·a + r of window q − a, for every a ≤ reach.
    reach = (window - 1) // stride
    height, width = height + reach, width + reach
    edges = ((0, 0), (reach, reach), (reach, reach), (0, 0))
    gradient = jnp.pad(gradient, edges)
    position = jnp.pad(position, edges, constant_values=-1)

    def phase(r, s):
        """[batch, height, width, channels], of the frame's rows and columns stride·q + (r, s)."""
        total = jnp.zeros((batch, height, width, channels), gradient.dtype)
        for i in range(r, window, stride):
            for j in range(s, window, stride):
                row, column = reach - i // stride, reach - j // stride
                of = (slice(None), slice(row, row + height), slice(column, column + width))
                total += jnp.where(position[of] == i * window + j, gradient[of], 0)
        return total

    phases = [jnp.stack([phase(r, s) for s in range(stride)], axis=3) for r in range(stride)]
    frame = jnp.stack(phases, axis=2).reshape(batch, height * stride, width * stride, channels)
    return _fit(frame, [-p[0] for p in padding], x.shape[1:3], 0)


def _fit(x, before, size, value):
    """Shifts x [B, H, W, C] by `before` rows and columns into a frame of `size`, filled up."""
    edges = [(b, n - b - m, 0) for b, n, m in zip(before, size, x.shape[1:3])]
    return lax.pad(x, jnp.asarray(value, x.dtype), ((0, 0, 0), *edges, (0, 0, 0)))
