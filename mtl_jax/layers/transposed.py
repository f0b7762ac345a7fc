"""Transposed convolution as PyTorch defines it, computed without inserting zeros."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.nn import initializers
from jax.typing import DTypeLike

from mtl_jax import layers
from mtl_jax.errors import ConfigError
from mtl_jax.layers import _derivatives, broadcast


def bilinear_kernel(size: int) -> np.ndarray:
    """[size, size] float64: the kernel with which a transposed convolution of stride size/2
    interpolates bilinearly (Long et al. 2015)."""
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 else factor - 0.5
    tent = 1 - np.abs(np.arange(size) - centre) / factor
    return np.outer(tent, tent)


def initializer(name: str) -> initializers.Initializer:
    """Kernel initialiser for a shape [k, k, in, out].

    'bilinear' puts `bilinear_kernel` on the diagonal and zeros elsewhere. The others are those of
    `layers.initializer`, whose fans PyTorch counts in its stored layout, in × out × k × k: fan_in
    is k·k·out and fan_out is k·k·in.

    Raises:
      ConfigError: no initialiser has that name.
    """
    if name == "bilinear":

        def bilinear(key, shape, dtype=jnp.float32):
            del key
            kernel = bilinear_kernel(shape[0])[:, :, None, None] * np.eye(shape[2], shape[3])
            return jnp.asarray(kernel, dtype)

        return bilinear
    if name not in layers.INITIALIZERS:
        raise ConfigError(
            f"Initialiser {name!r} is unknown; known are bilinear, "
            f"{', '.join(layers.INITIALIZERS)}."
        )

    def swapped(key, shape, dtype=jnp.float32):
        stored = (*shape[:2], shape[3], shape[2])
        return layers.INITIALIZERS[name](key, stored, dtype).swapaxes(2, 3)

    return swapped


class ConvTranspose(nn.Module):
    """Output pixel stride·i + dilation·j − padding receives input pixel i times kernel tap j.

    [B, h, w, C] ─► [B, H, W, features], H = stride·(h − 1) + dilation·(kernel_size − 1) + 1 −
    2·padding + output_padding. Strided and dilated at once is not supported; nobody needs it.

    Attributes:
      features: output channels.
      kernel_size, stride, dilation, padding, output_padding: as in PyTorch.
      use_bias: adds a bias.
      kernel_init: see `initializer`.
      bias_init: 'pytorch' or 'zeros'.
      dtype: compute type.
    """

    features: int
    kernel_size: int = 3
    stride: int = 2
    dilation: int = 1
    padding: int = 1
    output_padding: int = 1
    use_bias: bool = True
    kernel_init: str = "pytorch"
    bias_init: str = "pytorch"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.stride > 1 and self.dilation > 1:
            raise ValueError(f"{self.name}: stride={self.stride} with dilation={self.dilation}.")
        k = self.kernel_size
        shape = (k, k, x.shape[-1], self.features)
        kernel = self.param("kernel", initializer(self.kernel_init), shape, jnp.float32)
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        reach = self.dilation * (k - 1)
        ends = [
            self.stride * (n - 1) + reach + 1 - self.padding + self.output_padding
            for n in x.shape[1:3]
        ]
        y = _blocks(x, kernel, self.stride, self.dilation)
        missing = [(0, max(0, end - n)) for end, n in zip(ends, y.shape[1:3])]
        y = jnp.pad(y, ((0, 0), *missing, (0, 0)))
        y = y[:, self.padding : ends[0], self.padding : ends[1]]
        if self.use_bias:
            fan_in = k * k * self.features
            init = layers.bias_initializer(self.bias_init, fan_in)
            y = broadcast.add(y, self.param("bias", init, (self.features,), jnp.float32))
        return y


def _blocks(x: jax.Array, kernel: jax.Array, stride: int, dilation: int) -> jax.Array:
    """The whole output, neither padded nor cropped.

    Output pixel stride·b + r sees the taps j = stride·a + r only, from input pixels b − a. So an
    ordinary convolution with ⌈k/stride⌉² taps gives all `stride`² pixels of block b as channels:
    for kernel 64 and stride 32, 4 taps instead of 4096, of which all but 4 would meet zeros.
    """
    k, _, c_in, c_out = kernel.shape
    taps = -(-k // stride)
    lack = taps * stride - k
    kernel = jnp.pad(kernel, ((0, lack), (0, lack), (0, 0), (0, 0)))
    kernel = kernel.reshape(taps, stride, taps, stride, c_in, c_out)
    kernel = kernel.transpose(0, 2, 4, 1, 3, 5).reshape(-1, stride * stride * c_out)
    edge = dilation * (taps - 1)
    padded = jnp.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    height, width = (n + edge for n in x.shape[1:3])
    # A matrix product of what each tap sees: XLA's gradient of a convolution with so many more
    # output than input channels takes seconds on a CPU.
    seen = [
        padded[:, i : i + height, j : j + width]
        for i in range(edge, -1, -dilation)
        for j in range(edge, -1, -dilation)
    ]
    y = _product(jnp.concatenate(seen, axis=-1), kernel)
    batch, height, width, _ = y.shape
    y = y.reshape(batch, height, width, stride, stride, c_out).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(batch, height * stride, width * stride, c_out)


@jax.custom_vjp
def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x [B, h, w, c] times kernel [c, o]."""
    return x @ kernel


def _product_forward(x, kernel):
    return _product(x, kernel), (x, kernel)


def _product_backward(residuals, gradient):
    # The kernel's gradient as it lies: JAX's own form is the transpose of it, for which the CPU
    # would transpose the output's gradient, by far the largest array here.
    x, kernel = residuals
    return gradient @ kernel.T, jnp.einsum("bhwc,bhwo->co", x, gradient)


_derivatives.define(_product, _product_forward, _product_backward)
