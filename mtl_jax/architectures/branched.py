"""One encoder, and for every task its own ASPP and decoder (reports A and B, "branched").

Options (`config.model`):
  encoder: see `mtl_jax.encoders`.
  aspp.rates, aspp.channels: (3, 6, 9) and 256 in the reports.
  decoder.skip_channels, decoder.channels: 48 and 256 in the reports.
  se: squeeze-and-excitation in every ASPP and decoder.
  dtype: 'float32' or 'bfloat16', the compute type.
"""

import jax
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, encoders, layers
from mtl_jax.architectures import Predictions
from mtl_jax.heads import aspp, deeplabv3plus


def build(config, channels: dict[str, int]) -> nn.Module:
    """Builds the branched network that `config` (`config.model`) describes; see the module.

    Raises:
      ValueError: an option is unknown, missing or impossible.
    """
    _options.check(config.aspp, ("rates", "channels"), key="config.model.aspp")
    _options.check(config.decoder, ("skip_channels", "channels"), key="config.model.decoder")
    dtype = _options.dtype(config.dtype, key="config.model.dtype")
    return Branched(
        encoder=encoders.build(config.encoder, dtype=dtype),
        channels=channels,
        rates=tuple(config.aspp.rates),
        aspp_channels=config.aspp.channels,
        skip_channels=config.decoder.skip_channels,
        decoder_channels=config.decoder.channels,
        se=config.se,
        dtype=dtype,
    )


class Branched(nn.Module):
    """Encoder ─► per task: ASPP ─► DeepLabV3+ decoder."""

    encoder: nn.Module
    channels: dict[str, int]
    rates: tuple[int, ...]
    aspp_channels: int
    skip_channels: int
    decoder_channels: int
    se: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Predictions:
        """Normalised image [B, H, W, 3] ─► {task: [B, H, W, C]} float32."""
        features = self.encoder(image, train=train)
        final = {}
        for task, outputs in self.channels.items():
            x = aspp.ASPP(self.rates, self.aspp_channels, self.se, self.dtype, name=f"aspp_{task}")(
                features[max(features)], train=train
            )
            predictions, _ = deeplabv3plus.DeepLabV3PlusDecoder(
                outputs,
                self.decoder_channels,
                self.skip_channels,
                self.se,
                self.dtype,
                name=f"decoder_{task}",
            )(x, features[encoders.SKIP], train=train)
            final[task] = layers.resize_bilinear(predictions, image.shape[1:3])
        return Predictions(final=final)
