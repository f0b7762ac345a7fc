"""FCN-32s: scores at the encoder's last stride, upsampled by one learned convolution (report D).

Options (`config.model`):
  encoder: see `mtl_jax.encoders`; report D has ResNet-18, VGG-16 and AlexNet.
  tail.name:
    'thesis': nothing is padded and the map is stretched to the image: of 512 pixels, 16 at stride
      32 become 10 behind VGG's fc6, 352 by upsampling, and 512 by interpolation.
    'corrected': fc6 is padded and the upsampled map lies over the image. Same parameters.
  tail.average_pool: window of a mean over the features, stride 1; 7 behind a ResNet in the thesis
    (the classifier's pool of 2018), 0 for none. Not for 'corrected'.
  tail.classifier_kernel: of fc6; 7 behind VGG, 6 behind AlexNet, 0 for no fc6 and fc7.
  tail.hidden: channels of fc6 and fc7, 4096.
  tail.dropout: behind both, 0.5.
  dtype: 'float32' or 'bfloat16', the compute type.

Tasks share everything up to fc7. Report D's ResNet has `encoder.ceil_mode=True` besides.
"""

import jax
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, encoders
from mtl_jax.architectures import Predictions
from mtl_jax.errors import ConfigError
from mtl_jax.heads import fcn
from mtl_jax.layers import pooling

_TAIL = ("name", "average_pool", "classifier_kernel", "hidden", "dropout")


def build(config, channels: dict[str, int]) -> nn.Module:
    """Builds the FCN that `config` (`config.model`) describes; see the module.

    Raises:
      ConfigError: an option is unknown, missing or impossible.
    """
    key, tail = "config.model.tail", config.tail
    _options.check(tail, _TAIL, key=key)
    if tail.name not in ("thesis", "corrected"):
        raise ConfigError(f"{key}.name={tail.name!r}; expected one of thesis, corrected.")
    if tail.name == "corrected" and tail.average_pool:
        raise ConfigError(
            f"{key}.average_pool={tail.average_pool}, which is unpadded, has no place in the "
            "corrected tail; set it to 0."
        )
    if not 0 <= tail.dropout < 1:
        raise ConfigError(f"{key}.dropout={tail.dropout}; expected at least 0 and less than 1.")
    dtype = _options.dtype(config.dtype, key="config.model.dtype")
    return FCN(
        encoder=encoders.build(config.encoder, dtype=dtype),
        channels=channels,
        corrected=tail.name == "corrected",
        average_pool=tail.average_pool,
        classifier_kernel=tail.classifier_kernel,
        hidden=tail.hidden,
        dropout=tail.dropout,
        dtype=dtype,
    )


class FCN(nn.Module):
    """Encoder ─► fc6 ─► fc7 ─► per task: scores ─► transposed convolution."""

    encoder: nn.Module
    channels: dict[str, int]
    corrected: bool
    average_pool: int
    classifier_kernel: int
    hidden: int
    dropout: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Predictions:
        """Normalised image [B, H, W, 3] ─► {task: [B, H, W, C]} float32."""
        pyramid = self.encoder(image, train=train)
        stride, x = pyramid.strides[-1], pyramid.last
        if self.average_pool:
            x = pooling.average_pool_valid(x, self.average_pool)
        if self.classifier_kernel:
            x = fcn.Classifier(
                self.classifier_kernel,
                self.hidden,
                self.corrected,
                self.dropout,
                self.dtype,
                name="classifier",
            )(x, train=train)
        return Predictions(
            final={
                task: fcn.Upscore(outputs, stride, self.corrected, name=f"head_{task}")(
                    x, image.shape[1:3]
                )
                for task, outputs in self.channels.items()
            }
        )
