"""AlexNet as torchvision has it (Krizhevsky 2014), its pools in ceil mode (report D).

Padding 'published' makes 127, 63, 31 and 15 pixels of 512, as report D trained it; 'same' makes
⌈n/4⌉, ⌈n/8⌉, ⌈n/16⌉, ⌈n/32⌉ of n, for decoders that lay features over the image. The weights are
the same.

Parameters are named as in torchvision: `features.0.weight` is `features_0/kernel`.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import encoders, layers
from mtl_jax._options import Option, one_of, whole
from mtl_jax.errors import ConfigError
from mtl_jax.layers import pooling

OPTIONS = {
    "width": Option(64, "channels of the first convolution; 64 as published", whole(least=1)),
    "padding": Option(
        "same",
        "'published', or 'same' for decoders that lay features over the image",
        one_of("published", "same"),
    ),
}


def build(options, *, dtype: DTypeLike = jnp.float32) -> nn.Module:
    """The AlexNet of these `OPTIONS`."""
    return AlexNet(width=options.width, padding=options.padding, dtype=dtype)


def _published_layer(layer: str) -> str | None:
    """'encoder/features_0' ─► 'features.0', and FCN's hidden layers likewise; None for others."""
    if layer.startswith("encoder/"):
        return layer.removeprefix("encoder/").replace("_", ".")
    return {"classifier/fc6": "classifier.1", "classifier/fc7": "classifier.4"}.get(layer)


PUBLISHED = encoders.Published(
    layer=_published_layer,
    options={"width": 64},
    sources={"alexnet": encoders.Source("alexnet-owt-7be5be79.pth")},
)


class AlexNet(nn.Module):
    """Five convolutions with bias, max-pools after the first, second and last.

    Parameters: 2,469,696 at width 64. Without weights: PyTorch's default, as torchvision has it.
    """

    width: int
    padding: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> encoders.Pyramid:
        """Computes the features of every resolution.

        Args:
          image: normalised, [B, H, W, 3].
          train: has no effect here.

        Returns:
          Features at strides 1 (the image), 4, 8 and 16 before the pool, and 32; those of stride 4
          are the skip. For h and w see the module.

        Raises:
          UsageError: padding 'published' leaves nothing of so small an image.
        """
        del train
        same = self.padding == "same"
        if not same and min(image.shape[1:3]) < 31:
            raise ConfigError(
                f"AlexNet with padding='published' needs images of at least 31×31 pixels, found "
                f"{image.shape[1]}×{image.shape[2]}; use config.model.encoder.padding='same'."
            )
        width = self.width
        stem_padding = (4, 6) if same else (2, 2)
        x = self._conv(image, 0, width, 11, stride=4, padding=stem_padding)
        features = {1: image, 4: x}
        x = self._conv(self._pool(x), 3, 3 * width, 5)
        features[8] = x
        x = self._conv(self._pool(x), 6, 6 * width, 3)
        x = self._conv(x, 8, 4 * width, 3)
        x = self._conv(x, 10, 4 * width, 3)
        features[16] = x
        features[32] = self._pool(x)
        return encoders.Pyramid(features, skip=features[4])

    def _conv(self, x, place: int, features: int, kernel_size: int, **options) -> jax.Array:
        name = f"features_{place}"
        conv = layers.Conv(
            features, kernel_size, use_bias=True, dtype=self.dtype, name=name, **options
        )
        return nn.relu(conv(x))

    def _pool(self, x: jax.Array) -> jax.Array:
        if self.padding == "same":
            return layers.max_pool(x, 3, stride=2, padding=1)
        return pooling.max_pool_ceil(x, 3, stride=2)
