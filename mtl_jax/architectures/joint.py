"""One encoder and one decoder for all tasks (reports A and B, "joint").

The reports' baseline is `aspp.enabled = decoder.skip = False`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, encoders, layers
from mtl_jax._options import Option, truth
from mtl_jax.architectures import Predictions
from mtl_jax.errors import ConfigError
from mtl_jax.heads import aspp, deeplabv3plus

# Its output channels are those of all tasks, one after another.
SHARED_OUTPUTS = ("decoder/predict",)
OPTIONS = {
    "encoder": encoders.PART,
    "aspp": {
        "enabled": Option(True, "False puts a 1×1 CBR in the place of the ASPP", truth),
        **deeplabv3plus.OPTIONS["aspp"],
    },
    "decoder": {
        "skip": Option(True, "False puts a 1×1 convolution in the decoder's place", truth),
        **deeplabv3plus.OPTIONS["decoder"],
    },
    "se": Option(False, "squeeze-and-excitation in ASPP and decoder", truth),
}


def build(options, channels: dict[str, int]) -> nn.Module:
    """The joint network of these `OPTIONS`.

    Raises:
      ConfigError: squeeze-and-excitation where nothing has a place for it.
    """
    if options.se and not (options.aspp.enabled or options.decoder.skip):
        raise ConfigError(
            "config.model.se=True, but the baseline has no place for squeeze-and-excitation: "
            "enable config.model.aspp.enabled or config.model.decoder.skip."
        )
    dtype = _options.dtype(options.dtype)
    return Joint(
        encoder=encoders.build(options.encoder, dtype=dtype),
        channels=channels,
        use_aspp=options.aspp.enabled,
        rates=options.aspp.rates,
        aspp_channels=options.aspp.channels,
        use_skip=options.decoder.skip,
        skip_channels=options.decoder.skip_channels,
        decoder_channels=options.decoder.channels,
        se=options.se,
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
