"""Gates that let one feature map through by its own or another's measure."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import layers


class SelfAttention(nn.Module):
    """value(x) · sigmoid(gate(x)), two 3×3 convolutions without bias (Xu et al. 2018, report B).

    Parameters: 1,179,648 for 256 channels.

    Attributes:
      gate_init: kernel initialiser of the gate; 'zeros' opens it by half everywhere.
      dtype: compute type.
    """

    gate_init: str = "zeros"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] ─► [B, H, W, C]."""
        channels = x.shape[-1]
        gate = layers.Conv(channels, kernel_init=self.gate_init, dtype=self.dtype, name="gate")(x)
        return layers.Conv(channels, dtype=self.dtype, name="value")(x) * nn.sigmoid(gate)


class AttentionMask(nn.Module):
    """1×1 convolution ─► BatchNorm ─► ReLU ─► the same ─► sigmoid (Liu et al. 2019, report C).

    Attributes:
      features: output channels.
      hidden: channels in between; 0 means `features`.
      kernel_init: of both convolutions, whose biases start at 0.
      dtype: compute type.
    """

    features: int
    hidden: int = 0
    kernel_init: str = "pytorch"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, c] ─► [B, H, W, features], between 0 and 1."""

        def conv(features: int, name: str) -> layers.Conv:
            return layers.Conv(
                features,
                1,
                use_bias=True,
                kernel_init=self.kernel_init,
                bias_init="zeros",
                dtype=self.dtype,
                name=name,
            )

        x = conv(self.hidden or self.features, "conv1")(x)
        x = nn.relu(layers.BatchNorm(dtype=self.dtype, name="bn1")(x, train=train))
        x = conv(self.features, "conv2")(x)
        return nn.sigmoid(layers.BatchNorm(dtype=self.dtype, name="bn2")(x, train=train))
