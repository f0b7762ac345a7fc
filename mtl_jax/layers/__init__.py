"""The blocks that several encoders, heads and architectures need.

Arrays are [B, H, W, C]. The convolution, with a gradient of its own, is in `_convolution`.
"""

from mtl_jax.layers.blocks import BatchNorm, Conv, ConvBNReLU, Dense, SqueezeExcitation, max_pool
from mtl_jax.layers.initializers import INITIALIZERS, bias_initializer, initializer
from mtl_jax.layers.resize import (
    pad_to_multiple,
    resize_bilinear,
    resize_bilinear_align_corners,
    resize_bilinear_tf1,
)

__all__ = [
    "INITIALIZERS",
    "BatchNorm",
    "Conv",
    "ConvBNReLU",
    "Dense",
    "SqueezeExcitation",
    "bias_initializer",
    "initializer",
    "max_pool",
    "pad_to_multiple",
    "resize_bilinear",
    "resize_bilinear_align_corners",
    "resize_bilinear_tf1",
]
