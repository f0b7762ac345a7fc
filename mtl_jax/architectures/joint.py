"""One encoder and one decoder for all tasks (reports A and B, "joint").

Options (`config.model`):
  encoder: see `mtl_jax.encoders`.
  aspp.enabled: False puts a 1×1 CBR in the place of the ASPP.
  aspp.rates, aspp.channels: (3, 6, 9) and 256 in the reports.
  decoder.skip: False puts a 1×1 convolution in the place of the DeepLabV3+ decoder.
  decoder.skip_channels, decoder.channels: 48 and 256 in the reports.
  se: squeeze-and-excitation in ASPP and decoder.
  dtype: 'float32' or 'bfloat16', the compute type.

The reports' baseline is `aspp.enabled = decoder.skip = False`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, encoders, layers
from mtl_jax.architectures import Predictions
from mtl_jax.errors import ConfigError
from mtl_jax.heads import aspp, deeplabv3plus


def build(config, channels: dict[str, int]) -> nn.Module:
    """Builds the joint network that `config` (`config.model`) describes; see the module.

    Raises:
      ConfigError: an option is unknown, missing or impossible.
    """
    _options.check(config.aspp, ("enabled", "rates", "channels"), key="config.model.aspp")
    _options.check(
        config.decoder, ("skip", "skip_channels", "channels"), key="config.model.decoder"
    )
    if config.se and not (config.aspp.enabled or config.decoder.skip):
        raise ConfigError(
            "config.model.se=True, but the baseline has no place for squeeze-and-excitation: "
            "enable config.model.aspp.enabled or config.model.decoder.skip."
        )
    dtype = _options.dtype(config.dtype, key="config.model.dtype")
    return Joint(
        encoder=encoders.build(config.encoder, dtype=dtype),
        channels=channels,
        use_aspp=config.aspp.enabled,
        rates=tuple(config.aspp.rates),
        aspp_channels=config.aspp.channels,
        use_skip=config.decoder.skip,
        skip_channels=config.decoder.skip_channels,
        decoder_channels=config.decoder.channels,
        se=config.se,
        dtype=dtype,
    )


class Joint(nn.Module):
    """Encoder ─► ASPP ─► decoder ─► one slice of the output channels per task."""

    encoder: nn.Module
    channels: dict[str, int]
    use_aspp: bool
    rates: tuple[int, ...]
    aspp_channels: int
    use_skip: bool
    skip_channels: int
    decoder_channels: int
    se: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Predictions:
        """Normalised image [B, H, W, 3] ─► {task: [B, H, W, C]} float32."""
        height, width = image.shape[1:3]
        pyramid = self.encoder(image, train=train)
        x = pyramid.last
        if self.use_aspp:
            x = aspp.ASPP(self.rates, self.aspp_channels, self.se, self.dtype, name="aspp")(
                x, train=train
            )
        else:
            x = layers.ConvBNReLU(self.aspp_channels, 1, dtype=self.dtype, name="reduce")(
                x, train=train
            )
        outputs = sum(self.channels.values())
        if self.use_skip:
            x, _ = deeplabv3plus.DeepLabV3PlusDecoder(
                outputs,
                self.decoder_channels,
                self.skip_channels,
                self.se,
                self.dtype,
                name="decoder",
            )(x, pyramid.need_skip(by="config.model.decoder.skip=True"), train=train)
        else:
            stride_4 = (-(-height // 4), -(-width // 4))
            x, _ = deeplabv3plus.PlainDecoder(outputs, name="decoder")(x, stride_4)
        x = layers.resize_bilinear(x, (height, width))
        ends = np.cumsum(list(self.channels.values()))[:-1]
        return Predictions(final=dict(zip(self.channels, jnp.split(x, ends, axis=-1))))
