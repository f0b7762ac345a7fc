"""The blocks that several encoders, heads and architectures need.

Arrays are [B, H, W, C]. Parameters and running statistics are float32 whatever the compute `dtype`;
their leaves are named kernel, bias, scale, mean and var. Convolutions pad as PyTorch does, by an
explicit number of zeros on either side, so that a stride meets the same pixels.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.nn import initializers
from jax.typing import DTypeLike

from mtl_jax.errors import UsageError
from mtl_jax.layers import _convolution, _depthwise, _normalisation, broadcast
from mtl_jax.layers.initializers import bias_initializer, initializer


class Conv(nn.Module):
    """Convolution with dilation·(kernel_size − 1)/2 zeros on either side, like PyTorch's.

    Attributes:
      features: output channels.
      kernel_size: side of the square kernel; odd unless `padding` is given.
      stride: [B, H, W, C] ─► [B, ⌈H/stride⌉, ⌈W/stride⌉, features].
      dilation: distance of the kernel's taps.
      use_bias: adds a bias.
      kernel_init: one of `INITIALIZERS`.
      bias_init: 'pytorch' or 'zeros'.
      padding: zeros before and after, in both directions; None centres the kernel.
      dtype: compute type.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    dilation: int = 1
    use_bias: bool = False
    kernel_init: str = "pytorch"
    bias_init: str = "pytorch"
    padding: tuple[int, int] | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        k = self.kernel_size
        if k % 2 == 0 and self.padding is None:
            raise ValueError(f"{self.name}: kernel_size={k}; only odd kernels are centred.")
        shape = (k, k, x.shape[-1], self.features)
        kernel = self.param("kernel", initializer(self.kernel_init), shape, jnp.float32)
        padding = self.padding or (self.dilation * (k - 1) // 2,) * 2
        y = _convolution.convolve(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            stride=self.stride,
            padding=padding,
            dilation=self.dilation,
        )
        if self.use_bias:
            fan_in = k * k * x.shape[-1]
            init = bias_initializer(self.bias_init, fan_in)
            bias = self.param("bias", init, (self.features,), jnp.float32)
            y = broadcast.add(y, bias)
        return y


class DepthwiseConv(nn.Module):
    """Depthwise convolution, as a rule with TensorFlow's padding, without bias.

    Attributes:
      kernel_size: side of the square kernels.
      stride: [B, H, W, C] ─► [B, ⌈H/stride⌉, ⌈W/stride⌉, C].
      dilation: distance of the kernels' taps.
      kernel_init: one of `INITIALIZERS`; the fans are those of a kernel with one input channel.
      padding: zeros before and after, in both directions; None for TensorFlow's.
      dtype: compute type.
    """

    kernel_size: int = 3
    stride: int = 1
    dilation: int = 1
    kernel_init: str = "kaiming_normal_fan_in"
    padding: tuple[int, int] | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        k = self.kernel_size
        shape = (k, k, 1, x.shape[-1])
        kernel = self.param("kernel", initializer(self.kernel_init), shape, jnp.float32)
        return _depthwise.convolve(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            stride=self.stride,
            padding=tuple(
                self.padding or same_padding(n, k, stride=self.stride, dilation=self.dilation)
                for n in x.shape[1:3]
            ),
            dilation=self.dilation,
        )


def same_padding(
    size: int, kernel_size: int, *, stride: int = 1, dilation: int = 1
) -> tuple[int, int]:
    """Zeros before and after `size` pixels for ⌈size/stride⌉ outputs, as TensorFlow's SAME has it.

    No more than needed, and the larger half after: 3 and stride 2 on an even side give (0, 1).
    """
    needed = (-(-size // stride) - 1) * stride + dilation * (kernel_size - 1) + 1
    total = max(0, needed - size)
    return total // 2, total - total // 2


class Dense(nn.Module):
    """Linear layer with bias over the last axis, drawn as PyTorch draws it."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        fan_in = x.shape[-1]
        kernel = self.param("kernel", initializer("pytorch"), (fan_in, self.features), jnp.float32)
        bias = self.param(
            "bias", bias_initializer("pytorch", fan_in), (self.features,), jnp.float32
        )
        return broadcast.add(x.astype(self.dtype) @ kernel.astype(self.dtype), bias)


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last (Ioffe & Szegedy 2015).

    Statistics are float32, of the whole (global) batch: see `_normalisation`. The running variance
    keeps the biased estimate, as Flax does and PyTorch does not.

    Attributes:
      momentum: of the running statistics, new = momentum·old + (1 − momentum)·batch.
      epsilon: added to the variance.
      dtype: of the output.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        shape = (x.shape[-1],)
        scale = self.param("scale", initializers.ones, shape, jnp.float32)
        bias = self.param("bias", initializers.zeros, shape, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)

        if train:
            y, mean, var = _normalisation.normalise(x, scale, bias, self.epsilon)
            if not self.is_initializing():
                keep = self.momentum
                running_mean.value = keep * running_mean.value + (1 - keep) * mean
                running_var.value = keep * running_var.value + (1 - keep) * var
        else:
            centred = x.astype(jnp.float32) - running_mean.value
            y = centred * (scale * lax.rsqrt(running_var.value + self.epsilon)) + bias
        return y.astype(self.dtype)


class ConvBNReLU(nn.Module):
    """Convolution ─► BatchNorm ─► ReLU, "CBR"; without bias, which the BatchNorm would cancel.

    Attributes:
      features: output channels.
      kernel_size, stride, dilation, kernel_init: of the convolution.
      use_bias: keeps a bias all the same where the published network counts it; it starts at 0.
      momentum: of the running statistics.
      linear: leaves the ReLU out.
      dtype: compute type.
    """

    features: int
    kernel_size: int = 3
    dilation: int = 1
    kernel_init: str = "pytorch"
    use_bias: bool = False
    stride: int = 1
    momentum: float = BatchNorm.momentum
    linear: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = Conv(
            self.features,
            self.kernel_size,
            stride=self.stride,
            dilation=self.dilation,
            use_bias=self.use_bias,
            kernel_init=self.kernel_init,
            bias_init="zeros",
            dtype=self.dtype,
            name="conv",
        )(x)
        x = BatchNorm(momentum=self.momentum, dtype=self.dtype, name="bn")(x, train=train)
        return x if self.linear else nn.relu(x)


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate seen from all channels' means (Hu et al. 2018).

    mean over H×W ─► linear C ─► C/reduction ─► ReLU ─► linear C/reduction ─► C ─► sigmoid.
    """

    reduction: int = 16
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        if channels < self.reduction:
            raise UsageError(
                f"{'/'.join(self.path)}: squeeze-and-excitation divides the channels by "
                f"{self.reduction}, and its input has {channels}. Use wider layers or se=False."
            )
        squeezed = x.astype(jnp.float32).mean((1, 2)).astype(self.dtype)
        hidden = nn.relu(Dense(channels // self.reduction, self.dtype, name="reduce")(squeezed))
        gate = nn.sigmoid(Dense(channels, self.dtype, name="expand")(hidden))
        return broadcast.multiply(x, gate[:, None, None, :])


def max_pool(x: jax.Array, window: int, stride: int, padding: int) -> jax.Array:
    """Max-pooling of [B, H, W, C] over window × window, −∞ outside the frame.

    Of equal maxima the first in row-major order receives the gradient.
    """
    return nn.max_pool(x, (window, window), (stride, stride), ((padding, padding),) * 2)
