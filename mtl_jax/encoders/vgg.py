"""VGG-16 without batch normalisation (Simonyan & Zisserman 2015), pools in ceil mode (report D).

Parameters are named as in torchvision: `features.0.weight` is `features_0/kernel`.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import encoders, layers
from mtl_jax._options import Option, whole
from mtl_jax.layers import pooling

OPTIONS = {"width": Option(64, "channels of the first block; 64 as published", whole(least=1))}

# For every block: channels as a multiple of the width, and the convolutions' places in torchvision.
_BLOCKS = ((1, (0, 2)), (2, (5, 7)), (4, (10, 12, 14)), (8, (17, 19, 21)), (8, (24, 26, 28)))


def build(options, *, dtype: DTypeLike = jnp.float32) -> nn.Module:
    """The VGG-16 of these `OPTIONS`."""
    return VGG(width=options.width, dtype=dtype)


def _published_layer(layer: str) -> str | None:
    """'encoder/features_0' ─► 'features.0', and FCN's hidden layers likewise; None for others."""
    if layer.startswith("encoder/"):
        return layer.removeprefix("encoder/").replace("_", ".")
    return {"classifier/fc6": "classifier.0", "classifier/fc7": "classifier.3"}.get(layer)


def _from_timm(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """timm's names ─► torchvision's; they differ for the fully connected layers alone."""
    prefixes = {
        "pre_logits.fc1.": "classifier.0.",
        "pre_logits.fc2.": "classifier.3.",
        "head.fc.": "classifier.6.",
    }
    result = {}
    for name, array in arrays.items():
        prefix = next(filter(name.startswith, prefixes), "")
        result[prefixes.get(prefix, "") + name.removeprefix(prefix)] = array
    return result


PUBLISHED = encoders.Published(
    layer=_published_layer,
    translate=_from_timm,
    options={"width": 64},
    sources={
        "vgg16": encoders.Source(
            "vgg16-397923af.pth",
            "timm/vgg16.tv_in1k",
            "b8d8aa2dd860af9233c8c67385a8097fd6c35d3f",
            "57b026918159a6bf9faf8405c3a551903768e7138989d9c6224a14227203fad8",
        )
    },
)


class VGG(nn.Module):
    """Five blocks of 3×3 convolutions with bias, a 2×2 max-pool after each.

    Parameters: 14,714,688 at width 64. Without weights: Kaiming normal, fan_out, biases 0, as
    torchvision has it.
    """

    width: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> encoders.Pyramid:
        """Computes the features of every block.

        Args:
          image: normalised, [B, H, W, 3], any H and W.
          train: has no effect here.

        Returns:
          [B, ⌈H/stride⌉, ⌈W/stride⌉, c]: at strides 1 to 16 a block's features before its pool, at
          32 the last pool's; those of stride 4 are the skip.
        """
        del train
        x, features, stride = image, {}, 1
        for factor, places in _BLOCKS:
            for place in places:
                x = layers.Conv(
                    factor * self.width,
                    use_bias=True,
                    kernel_init="kaiming_normal_fan_out",
                    bias_init="zeros",
                    dtype=self.dtype,
                    name=f"features_{place}",
                )(x)
                x = nn.relu(x)
            features[stride] = x
            x = pooling.max_pool_ceil(x, 2, stride=2)
            stride *= 2
        features[stride] = x
        return encoders.Pyramid(features, skip=features[4])
