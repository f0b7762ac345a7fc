"""Two-dimensional convolution, exact, in the form that the hardware computes fast.

XLA computes all of it well on a GPU. On a CPU it computes the gradient of the kernel at a quarter
of the speed of a matrix product, because it sees it as a convolution with a window as large as the
image; there it is a product of patches here, and of a 1×1 kernel one of all pixels. And for the
gradient of the image it first transposes the kernel, on one core, which is felt where the kernel is
larger than the image.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mtl_jax.layers import _derivatives

Padding = tuple[int, int]

# Kernel gradients of at least so many operations are worth the time to compile their own form.
_MANY_OPERATIONS = 5 * 10**8

# So much of an image's patches is gathered at a time, that a core's cache still holds it when the
# product reads it: of 16 times as much the product of 64 channels took 1.5 times as long.
_PATCH_BYTES = 2**20


def convolve(
    x: jax.Array, kernel: jax.Array, *, stride: int, padding: Padding, dilation: int
) -> jax.Array:
    """Cross-correlation of x [B, H, W, c] with kernel [k, k, c, o], both of one dtype.

    Args:
      stride, dilation: the same in both directions.
      padding: zeros before and after, the same in both directions.

    Returns:
      [B, h, w, o] with h = ⌊(H + sum(padding) − dilation·(k − 1) − 1) / stride⌋ + 1.
    """
    excess = tuple(max(0, p - dilation * (kernel.shape[0] - 1)) for p in padding)
    if any(excess):
        # Its gradient would be a convolution with negative padding, for which XLA on the CPU reads
        # memory that nobody has written.
        x = _pad(x, (excess, excess))
        padding = tuple(p - e for p, e in zip(padding, excess))
    kernel, rows = _without_dead_taps(kernel, 0, x.shape[1], stride, padding, dilation)
    kernel, columns = _without_dead_taps(kernel, 1, x.shape[2], stride, padding, dilation)
    if kernel.shape[:2] == (1, 1) and rows == columns == (0, 0):
        return _pointwise(x[:, ::stride, ::stride], kernel[0, 0])
    return _convolve(x, kernel, stride, (rows, columns), dilation)


def _pad(x: jax.Array, padding: tuple[Padding, Padding]) -> jax.Array:
    """Zeros around [B, H, W, c]."""
    return jnp.pad(x, ((0, 0), *padding, (0, 0)))


def _without_dead_taps(
    kernel: jax.Array, axis: int, size: int, stride: int, padding: Padding, dilation: int
) -> tuple[jax.Array, Padding]:
    """Cuts off what only ever meets padding: of rate 9 on 8 rows, the upper and the lower taps."""
    before, after = padding
    first, last = 0, kernel.shape[axis]
    span = size + before + after - dilation * (last - 1) - 1
    # The first tap reads positions from −before to −before + ⌊span/stride⌋·stride, the last one
    # those from size − 1 + after − span. Cutting a tap off leaves `span` as it is.
    while last - first > 1 and before >= dilation and before > span // stride * stride:
        first, before = first + 1, before - dilation
    while last - first > 1 and after >= dilation and after > span:
        last, after = last - 1, after - dilation
    return lax.slice_in_dim(kernel, first, last, axis=axis), (before, after)


@jax.custom_vjp
def _pointwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[B, h, w, c] by [c, o]."""
    return jnp.einsum("bhwc,co->bhwo", x, kernel)


def _pointwise_forward(x, kernel):
    return _pointwise(x, kernel), (x, kernel)


def _pointwise_backward(residuals, gradient):
    """The kernel's gradient is one product of two matrices of all pixels.

    Derived from the product over three axes, XLA on a CPU turns the gradient round first, values
    that are far apart in memory: of 16 to 96 channels that took longer than all else together. Of
    two matrices the narrower one is turned.
    """
    x, kernel = residuals
    flat = [array.reshape(-1, array.shape[-1]) for array in (x, gradient)]
    narrow, wide = sorted(flat, key=lambda array: array.shape[1])
    product = lax.dot_general(
        narrow, wide, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32
    )
    of_kernel = product if narrow is flat[0] else product.T
    return jnp.einsum("bhwo,co->bhwc", gradient, kernel), of_kernel.astype(kernel.dtype)


_derivatives.define(_pointwise, _pointwise_forward, _pointwise_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve(x, kernel, stride: int, padding: tuple[Padding, Padding], dilation: int):
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=padding,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _forward(x, kernel, stride, padding, dilation):
    return _convolve(x, kernel, stride, padding, dilation), (x, kernel)


def _backward(stride, padding, dilation, residuals, gradient):
    x, kernel = residuals
    options = {"stride": stride, "padding": padding, "dilation": dilation}

    def derived(gradient, x, kernel):
        plain = functools.partial(_convolve.fun, stride=stride, padding=padding, dilation=dilation)
        return jax.vjp(plain, x, kernel)[1](gradient)

    def on_cpu(gradient, x, kernel):
        many = 2 * gradient.size * math.prod(kernel.shape[:3]) >= _MANY_OPERATIONS
        of_kernel = _kernel_gradient_from_patches if many else _kernel_gradient
        kernel_gradient = of_kernel(gradient, x, size=kernel.shape[:2], **options)
        if many and stride == 1 and kernel.size >= x.size:
            of_x = _image_gradient_from_taps(gradient, kernel, padding=padding, dilation=dilation)
            return of_x, kernel_gradient
        return _image_gradient(gradient, kernel, size=x.shape[1:3], **options), kernel_gradient

    return lax.platform_dependent(gradient, x, kernel, cpu=on_cpu, default=derived)


_derivatives.define(_convolve, _forward, _backward)


def _image_gradient(gradient, kernel, *, size, stride, padding, dilation):
    """Gradient of the image as a convolution with the kernel turned by 180°.

    It is what XLA derives, with the axes in the order NHWC, HWIO from the start. XLA on a CPU
    reorders those of other convolutions only outside of loops, and within one, as over several
    steps or micro-batches, computes them number by number, 25 times as slowly.

    Args:
      gradient: with respect to the output [B, h, w, o].
      kernel: [k, l, c, o].
      size: (H, W) of the image.

    Returns:
      [B, H, W, c].
    """
    edges = []
    for n, k, given, (before, _) in zip(size, kernel.shape, gradient.shape[1:3], padding):
        low = dilation * (k - 1) - before
        edges.append((low, n + dilation * (k - 1) - (stride * (given - 1) + 1) - low))
    return _in_order(
        gradient,
        lax.rev(kernel, (0, 1)).swapaxes(2, 3),
        padding=edges,
        lhs_dilation=(stride, stride),
        rhs_dilation=(dilation, dilation),
    )


def _kernel_gradient(gradient, x, *, size, stride, padding, dilation):
    """Gradient of the kernel as a convolution of x with the gradient; see `_image_gradient`.

    Args:
      gradient: with respect to the output [B, h, w, o].
      x: the convolution's input [B, H, W, c].
      size: (k, l).

    Returns:
      [k, l, c, o].
    """
    edges = []
    for n, k, given, (before, _) in zip(x.shape[1:3], size, gradient.shape[1:3], padding):
        edges.append((before, stride * (given - 1) + 1 - n + dilation * (k - 1) - before))
    return _in_order(
        x.transpose(3, 1, 2, 0),
        gradient.transpose(1, 2, 0, 3),
        window_strides=(dilation, dilation),
        padding=edges,
        rhs_dilation=(stride, stride),
    ).transpose(1, 2, 0, 3)


def _in_order(x, kernel, *, window_strides=(1, 1), **options):
    return lax.conv_general_dilated(
        x, kernel, window_strides, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
    )


def _image_gradient_from_taps(gradient, kernel, *, padding, dilation):
    """Gradient of the image for stride 1, a product per tap with the kernel as it lies.

    Args:
      gradient: with respect to the output [B, h, w, o].
      kernel: [k, l, c, o].

    Returns:
      [B, H, W, c].
    """
    taps = kernel.shape[:2]
    reach = [dilation * (k - 1) for k in taps]
    size = [n + r - sum(p) for n, r, p in zip(gradient.shape[1:3], reach, padding)]
    gradient = _pad(gradient, tuple((r - p[0], r - p[1]) for r, p in zip(reach, padding)))
    total = 0
    for i, j in np.ndindex(*taps):
        row, column = reach[0] - i * dilation, reach[1] - j * dilation
        window = gradient[:, row : row + size[0], column : column + size[1]]
        total += jnp.einsum(
            "bhwo,co->bhwc", window, kernel[i, j], preferred_element_type=jnp.float32
        )
    return total.astype(gradient.dtype)


def _kernel_gradient_from_patches(gradient, x, *, size, stride, padding, dilation):
    """Gradient of the kernel as gradientᵀ · patches, over some output rows of all images at a time.

    Args:
      gradient: with respect to the output [B, h, w, o].
      x: the convolution's input [B, H, W, c].

    Returns:
      [*size, c, o], added up in float32.
    """
    batch, height, width, outputs = gradient.shape
    x = _pad(x, padding)
    length = math.prod(size) * x.shape[-1]

    def product(x, gradient):
        """Of the rows that belong together; x holds the halo as well."""
        rows = gradient.shape[1]
        taps = [
            x[
                :,
                i * dilation : i * dilation + (rows - 1) * stride + 1 : stride,
                j * dilation : j * dilation + (width - 1) * stride + 1 : stride,
            ]
            for i in range(size[0])
            for j in range(size[1])
        ]
        patches = jnp.concatenate(taps, axis=-1).reshape(-1, length)
        # Of the two the gradient is turned round, which is narrower.
        return jnp.matmul(
            gradient.reshape(-1, outputs).T, patches, preferred_element_type=jnp.float32
        )

    # Of fewer pixels than outputs, adding to the total takes longer than gathering the patches.
    pixels = max(_PATCH_BYTES // (length * x.dtype.itemsize), outputs)
    rows = _rows_at_a_time(height, pixels // (batch * width))
    if rows == height:
        total = product(x, gradient)
    else:
        halo = (rows - 1) * stride + dilation * (size[0] - 1) + 1

        def add(index, total):
            x_rows = lax.dynamic_slice_in_dim(x, index * rows * stride, halo, axis=1)
            gradient_rows = lax.dynamic_slice_in_dim(gradient, index * rows, rows, axis=1)
            return total + product(x_rows, gradient_rows)

        start = jnp.zeros((outputs, length), jnp.float32)
        total = lax.fori_loop(0, height // rows, add, start)
    return total.T.reshape(*size, -1, outputs).astype(x.dtype)


def _rows_at_a_time(height: int, fitting: int) -> int:
    """The largest divisor of `height` that is no more than what fits, at least 1."""
    return max(n for n in range(1, height + 1) if height % n == 0 and n <= max(1, fitting))
