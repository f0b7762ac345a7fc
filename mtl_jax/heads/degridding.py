"""The head of Stacked U-Nets, smoothing what dilation left uneven (Shah et al. 2018, report D)."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import layers


class DegriddingHead(nn.Module):
    """3×3 convolution of dilation 2, then of dilation 1, each with BatchNorm and ReLU; then 1×1.

    Parameters: 7,091,733 for 1024 ─► 512 ─► 21 channels. Every convolution has a bias.

    Attributes:
      outputs: channels of the predictions.
      channels: of both 3×3 convolutions.
      momentum: of the running statistics.
      kernel_init: of every convolution; biases start at 0.
      dtype: compute type; predictions are float32.
    """

    outputs: int
    channels: int = 512
    momentum: float = 0.99
    kernel_init: str = "kaiming_normal_fan_out"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, h, w, c] ─► [B, h, w, outputs]."""
        conv = functools.partial(
            layers.Conv, use_bias=True, kernel_init=self.kernel_init, bias_init="zeros"
        )
        for index, dilation in ((1, 2), (2, 1)):
            x = conv(self.channels, dilation=dilation, dtype=self.dtype, name=f"conv{index}")(x)
            norm = layers.BatchNorm(self.momentum, dtype=self.dtype, name=f"bn{index}")
            x = nn.relu(norm(x, train=train))
        return conv(self.outputs, 1, name="predict")(x)
