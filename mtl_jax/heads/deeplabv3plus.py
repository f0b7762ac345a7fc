"""Decoders to stride 4: DeepLabV3+ (Chen et al. 2018) and the plain one of the reports' baseline.

All return predictions, float32 logits at stride 4, and the features that they are read from.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, encoders, layers
from mtl_jax._options import Option, truth, whole
from mtl_jax.heads import aspp

NEEDS = "skip"
# Of architectures that have a `Branch` for each task; widths and rates are the reports'.
OPTIONS = {
    "aspp": {
        "rates": aspp.RATES,
        "channels": Option(256, "of every branch of the ASPP and of its result", whole(least=1)),
    },
    "decoder": {
        "skip_channels": Option(48, "to which a convolution reduces the skip", whole(least=1)),
        "channels": Option(256, "of the decoder's two convolutions", whole(least=1)),
    },
    "se": Option(False, "squeeze-and-excitation in every ASPP and decoder", truth),
}


class DeepLabV3PlusDecoder(nn.Module):
    """Upsampled features joined with early ones, two 3×3 CBRs, a 1×1 convolution.

    Parameters: 1,299,572 for 256 channels, a skip of 64 and 20 outputs.

    Attributes:
      outputs: channels of the predictions.
      channels: of both 3×3 CBRs.
      skip_channels: to which a 1×1 CBR reduces the skip.
      se: squeeze-and-excitation after the second 3×3 CBR; the returned features are its result.
      dtype: compute type.
    """

    outputs: int
    channels: int = 256
    skip_channels: int = 48
    se: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, skip: jax.Array, *, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """[B, h, w, c], [B, H, W, s] ─► [B, H, W, outputs], [B, H, W, channels]."""
        skip = layers.ConvBNReLU(self.skip_channels, 1, dtype=self.dtype, name="skip")(
            skip, train=train
        )
        x = jnp.concatenate([layers.resize_bilinear(x, skip.shape[1:3]), skip], axis=-1)
        x = layers.ConvBNReLU(self.channels, dtype=self.dtype, name="conv1")(x, train=train)
        x = layers.ConvBNReLU(self.channels, dtype=self.dtype, name="conv2")(x, train=train)
        if self.se:
            x = layers.SqueezeExcitation(dtype=self.dtype, name="se")(x)
        return _predict(self.outputs)(x), x


@dataclasses.dataclass(frozen=True)
class Branch:
    """What every task has to itself in the branched networks: an ASPP and a decoder.

    Attributes:
      rates: dilation rates of the ASPP.
      aspp_channels: of the ASPP's branches and its result.
      skip_channels, channels, se: see `DeepLabV3PlusDecoder`; `se` holds for the ASPP too.
      dtype: compute type.
    """

    rates: tuple[int, ...]
    aspp_channels: int
    skip_channels: int
    channels: int
    se: bool
    dtype: DTypeLike

    def __call__(
        self, pyramid: encoders.Pyramid, outputs: int, *, task: str, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Features ─► [B, H, W, outputs], [B, H, W, channels] at the skip's stride.

        Read are the features of the largest stride and those for a skip connection. To be called
        within a compact module, of which `aspp_<task>` and `decoder_<task>` become parts.
        """
        x, skip = pyramid.last, pyramid.need_skip(by="The decoder 'deeplabv3plus'")
        x = aspp.ASPP(self.rates, self.aspp_channels, self.se, self.dtype, name=f"aspp_{task}")(
            x, train=train
        )
        return DeepLabV3PlusDecoder(
            outputs,
            self.channels,
            self.skip_channels,
            self.se,
            self.dtype,
            name=f"decoder_{task}",
        )(x, skip, train=train)


def branch(options) -> Branch:
    """The branch of these `OPTIONS` and `options.dtype`."""
    return Branch(
        rates=options.aspp.rates,
        aspp_channels=options.aspp.channels,
        skip_channels=options.decoder.skip_channels,
        channels=options.decoder.channels,
        se=options.se,
        dtype=_options.dtype(options.dtype),
    )


class PlainDecoder(nn.Module):
    """Upsampled features and a 1×1 convolution: reports A and B without a skip connection."""

    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array, size: Sequence[int]) -> tuple[jax.Array, jax.Array]:
        """[B, h, w, c], (H, W) ─► [B, H, W, outputs], [B, H, W, c]."""
        # Interpolation and a 1×1 convolution commute; the other order does less work.
        predictions = layers.resize_bilinear(_predict(self.outputs)(x), size)
        return predictions, layers.resize_bilinear(x, size)


def _predict(outputs: int) -> layers.Conv:
    """The last convolution: with bias, and in float32 whatever the compute type."""
    return layers.Conv(outputs, 1, use_bias=True, name="predict")
