"""Depthwise convolution: every channel has a kernel of its own.

XLA has a form for it, a grouped convolution, which a GPU computes well. On a CPU that form visits
every channel by itself, and its gradients take still longer (8×48×96×96, 3×3: 185 ms, and 740 ms
with gradients). There it is a sum over the kernel's taps of shifted images times the tap, whose
channels lie side by side (12 ms); the gradients below are sums of the same kind.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mtl_jax.layers import _derivatives

Padding = tuple[int, int]


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int,
    padding: tuple[Padding, Padding],
    dilation: int,
) -> jax.Array:
    """Cross-correlation of each channel of x [B, H, W, C] with its own kernel of [k, k, 1, C].

    Both have one dtype; products are added up in float32.

    Args:
      stride, dilation: the same in both directions.
      padding: zeros before and after the rows, and before and after the columns.

    Returns:
      [B, h, w, C] with h = ⌊(H + sum(padding) − dilation·(k − 1) − 1) / stride⌋ + 1.

    Raises:
      ValueError: the padding is wider than the kernel reaches; such rows would be nothing but zero.
    """
    reach = dilation * (kernel.shape[0] - 1)
    if any(not 0 <= p <= reach for p in (*padding[0], *padding[1])):
        raise ValueError(
            f"A depthwise kernel of {kernel.shape[0]} with dilation {dilation} reaches {reach} "
            f"pixels, and the padding is {padding}; expected 0 to {reach}."
        )
    return _convolve(x, kernel, stride, padding, dilation)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve(x, kernel, stride, padding, dilation):
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_shifted_sum, **options),
        default=functools.partial(_grouped, **options),
    )


def _forward(x, kernel, stride, padding, dilation):
    return _convolve(x, kernel, stride, padding, dilation), (x, kernel)


def _backward(stride, padding, dilation, residuals, gradient):
    options = {"stride": stride, "padding": padding, "dilation": dilation}

    def grouped(gradient, x, kernel):
        return jax.vjp(functools.partial(_grouped, **options), x, kernel)[1](gradient)

    def shifted(gradient, x, kernel):
        return (
            _image_gradient(gradient, kernel, size=x.shape[1:3], **options),
            _kernel_gradient(gradient, x, size=kernel.shape[0], **options),
        )

    return lax.platform_dependent(gradient, *residuals, cpu=shifted, default=grouped)


_derivatives.define(_convolve, _forward, _backward)


def _grouped(x, kernel, *, stride, padding, dilation):
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=padding,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def _sum_over_taps(x, kernel, places, shape, stride):
    """The sum, in float32, over the taps of kernel [k, k, 1, C] of each tap times its window of x.

    Written in `lax`: a network has hundreds of taps, and tracing `jnp` takes several times as long.

    Args:
      x: [B, H, W, C].
      kernel: as above.
      places: (row, column) where each tap's window begins.
      shape: (rows, columns) that a window reaches over.
      stride: of the pixels that are read of them.
    """
    total = None
    for (i, j), (row, column) in zip(np.ndindex(*kernel.shape[:2]), places, strict=True):
        tap = lax.slice(kernel, (i, j, 0, 0), (i + 1, j + 1, *kernel.shape[2:]))
        window = lax.slice(
            x,
            (0, row, column, 0),
            (x.shape[0], row + shape[0], column + shape[1], x.shape[3]),
            (1, stride, stride, 1),
        )
        product = lax.mul(*(lax.convert_element_type(a, jnp.float32) for a in (window, tap)))
        total = product if total is None else lax.add(total, product)
    return lax.convert_element_type(total, x.dtype)


def _pad(x, padding):
    """Zeros around [B, H, W, C], made once: fused into the taps, x would be computed by each."""
    return lax.optimization_barrier(jnp.pad(x, ((0, 0), *padding, (0, 0))))


def _shifted_sum(x, kernel, *, stride, padding, dilation):
    x = _pad(x, padding)
    reach = dilation * (kernel.shape[0] - 1)
    size = tuple(n - reach for n in x.shape[1:3])
    places = [(i * dilation, j * dilation) for i, j in np.ndindex(*kernel.shape[:2])]
    return _sum_over_taps(x, kernel, places, size, stride)


def _image_gradient(gradient, kernel, *, size, stride, padding, dilation):
    """Gradient of the image [B, *size, C]: each tap gives back where it has read.

    The gradient gets `stride` − 1 zeros between its pixels, and is then convolved with the kernel
    turned by 180°.
    """
    reach = dilation * (kernel.shape[0] - 1)
    edges = [(0, 0, 0), (0, 0, 0)]
    for n, given, (before, _) in zip(size, gradient.shape[1:3], padding):
        low = reach - before
        edges.insert(-1, (low, n + reach - low - (given - 1) * stride - 1, stride - 1))
    gradient = lax.pad(gradient, jnp.zeros((), gradient.dtype), edges)
    gradient = lax.optimization_barrier(gradient)  # as in `_pad`
    taps = np.ndindex(*kernel.shape[:2])
    places = [(reach - i * dilation, reach - j * dilation) for i, j in taps]
    return _sum_over_taps(gradient, kernel, places, size, 1)


def _kernel_gradient(gradient, x, *, size, stride, padding, dilation):
    """Gradient of the kernel [size, size, 1, C], added up in float32.

    Row by row: each tap adds the products of a row to [w, C] numbers of its own, which stay in the
    cache, and these are added up in the end. A reduction for each tap, as one would write it, takes
    twenty times as long on a CPU, because XLA does not vectorise one over a shifted window.
    """
    x = _pad(x, padding)
    batch, height, width, channels = gradient.shape
    reach = dilation * (size - 1)

    def add(index, totals):
        image, row = index // height, index % height
        lines = lax.dynamic_slice(
            x, (image, row * stride, 0, 0), (1, reach + 1, x.shape[2], channels)
        )[0].astype(jnp.float32)
        factor = lax.dynamic_slice(gradient, (image, row, 0, 0), (1, 1, width, channels))[0, 0]
        factor = factor.astype(jnp.float32)
        span = (width - 1) * stride + 1
        windows = (
            lax.slice(line, (column, 0), (column + span, channels), (stride, 1))
            for line in (lax.index_in_dim(lines, i * dilation, keepdims=False) for i in range(size))
            for column in range(0, size * dilation, dilation)
        )
        return [
            lax.add(total, lax.mul(window, factor))
            for total, window in zip(totals, windows, strict=True)
        ]

    zeros = [jnp.zeros((width, channels), jnp.float32)] * size**2
    totals = lax.fori_loop(0, batch * height, add, zeros)
    sums = jnp.stack([total.sum(0) for total in totals])
    return sums.reshape(size, size, 1, channels).astype(x.dtype)
