"""One encoder and three convolutions for each task at half the image's size (report E).

Kendall et al. 2018 weigh these tasks by learned uncertainties; that part is a weighting.

Options (`config.model`):
  encoder: see `mtl_jax.encoders`; report E has a ResNet-101 at output stride 8, whose dilation rule
    'torchvision' has its number of parameters.
  decoder.channels: of both hidden convolutions; 512 in the report.
  decoder.init: kernel initialiser; 'truncated_normal', σ = 0.01, in the report. Biases start at 0.
  resize: bilinear rule of the features' resize to half the image and of the predictions' to the
    whole: 'tf1' in the report, 'half_pixel' or 'align_corners'.
  dtype: 'float32' or 'bfloat16', the compute type.

The last convolution has no activation: offsets have a sign, and logits no bound.
"""

import functools

import jax
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, encoders, layers
from mtl_jax.architectures import Predictions
from mtl_jax.errors import ConfigError

_RESIZES = {
    "tf1": layers.resize_bilinear_tf1,
    "half_pixel": layers.resize_bilinear,
    "align_corners": layers.resize_bilinear_align_corners,
}


def build(config, channels: dict[str, int]) -> nn.Module:
    """Builds the network that `config` (`config.model`) describes; see the module.

    Raises:
      ConfigError: an option is unknown, missing or impossible.
    """
    _options.check(config.decoder, ("channels", "init"), key="config.model.decoder")
    layers.initializer(config.decoder.init)
    if config.resize not in _RESIZES:
        raise ConfigError(
            f"config.model.resize={config.resize!r}; expected one of {', '.join(_RESIZES)}."
        )
    dtype = _options.dtype(config.dtype, key="config.model.dtype")
    return Uncertainty(
        encoder=encoders.build(config.encoder, dtype=dtype),
        channels=channels,
        decoder_channels=config.decoder.channels,
        kernel_init=config.decoder.init,
        resize=config.resize,
        dtype=dtype,
    )


class Uncertainty(nn.Module):
    """Encoder ─► half the image's size ─► per task: 3×3, 1×1, 1×1 convolutions."""

    encoder: nn.Module
    channels: dict[str, int]
    decoder_channels: int
    kernel_init: str
    resize: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Predictions:
        """Normalised image [B, H, W, 3] ─► {task: [B, H, W, C]} float32."""
        size = image.shape[1:3]
        resize = _RESIZES[self.resize]
        x = resize(self.encoder(image, train=train).last, [-(-n // 2) for n in size])
        return Predictions(
            final={
                task: resize(
                    Decoder(
                        outputs,
                        self.decoder_channels,
                        self.kernel_init,
                        self.dtype,
                        name=f"decoder_{task}",
                    )(x),
                    size,
                )
                for task, outputs in self.channels.items()
            }
        )


class Decoder(nn.Module):
    """3×3 ─► ReLU ─► 1×1 ─► ReLU ─► 1×1, with biases; 9,717,794 parameters for 2048 ─► 34."""

    outputs: int
    channels: int
    kernel_init: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, h, w, c] ─► [B, h, w, outputs] float32."""
        conv = functools.partial(
            layers.Conv, use_bias=True, kernel_init=self.kernel_init, bias_init="zeros"
        )
        x = nn.relu(conv(self.channels, dtype=self.dtype, name="conv1")(x))
        x = nn.relu(conv(self.channels, 1, dtype=self.dtype, name="conv2")(x))
        return conv(self.outputs, 1, name="predict")(x)
