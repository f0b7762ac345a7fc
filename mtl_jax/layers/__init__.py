"""The blocks that several encoders, heads and architectures need.

Arrays are [B, H, W, C]. The convolutions, with gradients of their own, are in
`_convolution` and `_depthwise`.
"""

from mtl_jax.layers.activations import gelu
from mtl_jax.layers.blocks import (
    BatchNorm,
    Conv,
    ConvBNReLU,
    Dense,
    DepthwiseConv,
    SqueezeExcitation,
    max_pool,
    same_padding,
)
from mtl_jax.layers.initializers import INITIALIZERS, bias_initializer, initializer
from mtl_jax.layers.resize import (
    pad_to,
    resize_bilinear,
    resize_bilinear_align_corners,
    resize_bilinear_tf1,
)
from mtl_jax.layers.sizes import ImageSizes, image_sizes, parts, unread

__all__ = [
    "INITIALIZERS",
    "BatchNorm",
    "Conv",
    "ConvBNReLU",
    "Dense",
    "DepthwiseConv",
    "ImageSizes",
    "SqueezeExcitation",
    "bias_initializer",
    "gelu",
    "image_sizes",
    "initializer",
    "max_pool",
    "pad_to",
    "parts",
    "resize_bilinear",
    "resize_bilinear_align_corners",
    "resize_bilinear_tf1",
    "same_padding",
    "unread",
]
