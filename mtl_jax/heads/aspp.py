"""Atrous spatial pyramid pooling (Chen et al. 2018, reports A and B)."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import layers
from mtl_jax._options import Option, each, whole
from mtl_jax.errors import UsageError
from mtl_jax.layers import broadcast

RATES = Option((3, 6, 9), "dilations of the ASPP's 3×3 convolutions", each(whole(least=1)))


class ASPP(nn.Module):
    """One 1×1, one dilated 3×3 per rate and one image-wide view, concatenated and projected.

    Parameters: 4,131,840 for 512 ─► 256 channels and three rates.

    Attributes:
      rates: dilations of the 3×3 convolutions; reports A and B use (3, 6, 9).
      channels: of every branch and of the output.
      se: squeeze-and-excitation at the end.
      dtype: compute type.
    """

    rates: tuple[int, ...] = (3, 6, 9)
    channels: int = 256
    se: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, h, w, c] ─► [B, h, w, channels].

        Raises:
          UsageError: training on a batch of one, of which the pooled branch's BatchNorm would see
            a single value per channel.
        """
        if train and x.shape[0] == 1 and not self.is_initializing():
            raise UsageError(
                "ASPP normalises its pooled branch over the batch, one value per image and "
                "channel: training needs a batch of at least 2, and this one has 1. It "
                "is config.train.batch_size / config.train.accumulate."
            )

        def cbr(kernel_size: int, dilation: int, name: str) -> layers.ConvBNReLU:
            return layers.ConvBNReLU(
                self.channels, kernel_size, dilation, dtype=self.dtype, name=name
            )

        branches = [cbr(1, 1, "conv1x1")(x, train=train)]
        for index, rate in enumerate(self.rates):
            again = self.rates[:index].count(rate)  # the same rate may be there several times
            name = f"rate{rate}_{again + 1}" if again else f"rate{rate}"
            branches.append(cbr(3, rate, name)(x, train=train))
        pooled = x.astype(jnp.float32).mean((1, 2), keepdims=True)
        pooled = cbr(1, 1, "pooled")(pooled, train=train)
        branches.append(broadcast.broadcast_to(pooled, branches[0].shape))
        x = cbr(1, 1, "project")(jnp.concatenate(branches, axis=-1), train=train)
        if self.se:
            x = layers.SqueezeExcitation(dtype=self.dtype, name="se")(x)
        return x
