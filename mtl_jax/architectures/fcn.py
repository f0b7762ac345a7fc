"""FCN-32s: scores at the encoder's last stride, upsampled by one learned convolution (report D).

Report D has ResNet-18 with `ceil_mode`, VGG-16 and AlexNet. The tail 'thesis' pads nothing and
stretches the map to the image: of 512 pixels, 16 at stride 32 become 10 after VGG's fc6, 352 by
upsampling, and 512 by interpolation. In the tail 'corrected' fc6 is padded and the upsampled map
lies over the image; the parameters are the same.

Tasks share everything up to fc7.
"""

import jax
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, encoders
from mtl_jax._options import Option, one_of, rate, whole
from mtl_jax.architectures import Predictions
from mtl_jax.errors import ConfigError
from mtl_jax.heads import fcn
from mtl_jax.layers import pooling

OPTIONS = {
    "encoder": encoders.PART,
    "tail": {
        "name": Option("corrected", "'corrected' or 'thesis'", one_of("thesis", "corrected")),
        "average_pool": Option(
            0,
            "window of a mean over the features, 0 for none; 7 after a ResNet in the thesis",
            whole(least=0),
        ),
        "classifier_kernel": Option(
            0, "of fc6: 7 after VGG, 6 after AlexNet, 0 for no fc6 and fc7", whole(least=0)
        ),
        "hidden": Option(4096, "channels of fc6 and fc7", whole(least=1)),
        "dropout": Option(0.5, "share dropped after fc6 and after fc7", rate),
    },
}


def build(options, channels: dict[str, int]) -> nn.Module:
    """The FCN of these `OPTIONS`.

    Raises:
      ConfigError: an average pool in the corrected tail.
    """
    tail = options.tail
    if tail.name == "corrected" and tail.average_pool:
        raise ConfigError(
            f"config.model.tail.average_pool={tail.average_pool}, which is unpadded, has no place "
            "in the corrected tail; set it to 0."
        )
    dtype = _options.dtype(options.dtype)
    return FCN(
        encoder=encoders.build(options.encoder, dtype=dtype),
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
