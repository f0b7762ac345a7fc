"""The decoder of DeepLabV3 (Chen et al. 2017): an ASPP over the last features, and no skip.

As the survey of Vandenhende et al. (2021) has it: rates 12, 24 and 36 over features of stride 8,
half of the ASPP's channels dropped in training.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, encoders, layers
from mtl_jax._options import Option, rate
from mtl_jax.heads import aspp

NEEDS = "last"
OPTIONS = {"dropout": Option(0.5, "share of the ASPP's values that training drops", rate)}


class DeepLabV3Decoder(nn.Module):
    """ASPP ─► dropout ─► 3×3 CBR ─► 1×1 convolution.

    Attributes:
      outputs: channels of the predictions.
      rates: dilations of the ASPP.
      channels: of the ASPP and of the CBR.
      dropout: share of the ASPP's values that training drops.
      dtype: compute type; predictions are float32.
    """

    outputs: int
    rates: tuple[int, ...] = (12, 24, 36)
    channels: int = 256
    dropout: float = 0.5
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """[B, h, w, c] ─► [B, h, w, outputs], [B, h, w, channels]."""
        x = aspp.ASPP(self.rates, self.channels, dtype=self.dtype, name="aspp")(x, train=train)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = layers.ConvBNReLU(self.channels, dtype=self.dtype, name="conv")(x, train=train)
        return layers.Conv(self.outputs, 1, use_bias=True, name="predict")(x), x


@dataclasses.dataclass(frozen=True)
class Branch:
    """What every task has to itself: see `DeepLabV3Decoder`."""

    rates: tuple[int, ...]
    channels: int
    dropout: float
    dtype: DTypeLike

    def __call__(
        self, pyramid: encoders.Pyramid, outputs: int, *, task: str, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Features ─► [B, h, w, outputs], [B, h, w, channels], at the encoder's last stride.

        To be called within a compact module, of which `decoder_<task>` becomes a part.
        """
        decoder = DeepLabV3Decoder(
            outputs, self.rates, self.channels, self.dropout, self.dtype, name=f"decoder_{task}"
        )
        return decoder(pyramid.last, train=train)


def branch(options) -> Branch:
    """The branch of `options.aspp`, `options.decoder`, these `OPTIONS`, and `options.dtype`."""
    return Branch(
        rates=options.aspp.rates,
        channels=options.aspp.channels,
        dropout=options.decoder.dropout,
        dtype=_options.dtype(options.dtype),
    )
