"""ResNet-18/34/50/101 (He et al. 2016) whose late stages may dilate instead of stride.

A stage that is flagged in `replace_stride_with_dilation` keeps its input's resolution and doubles
the dilation. The dilation of its first block is that of the stage before by the rule 'torchvision',
and 2, always, by the rule 'template', which made the networks of reports A and B. The rule 'survey'
(Vandenhende et al. 2021) is torchvision's, but both convolutions of a basic block dilate.

Parameters are named as in torchvision: `layer1.0.conv1.weight` is `layer1_0/conv1/kernel`, and
`downsample.0`, `downsample.1` are `downsample_conv`, `downsample_bn`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import encoders, layers
from mtl_jax._options import Option, one_of, truth, whole
from mtl_jax.layers import pooling

STAGES = 4
_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
_FLAGS = {"F": False, "T": True, False: False, True: True}


def _check_flags(value) -> str | None:
    fits = isinstance(value, str | tuple | list) and len(value) == 3
    if fits and all(flag in _FLAGS for flag in value):
        return None
    return "one flag for each of stages 2, 3 and 4: 'FFT' or (False, False, True)"


OPTIONS = {
    "depth": Option(18, "number of weighted layers", one_of(*_BLOCKS)),
    "width": Option(
        64, "channels of the stem and of the first stage's planes; 64 as published", whole(least=1)
    ),
    "replace_stride_with_dilation": Option(
        "FFF", "one flag for each of stages 2, 3 and 4: 'FFT' or (False, False, True)", _check_flags
    ),
    "dilation_rule": Option(
        "torchvision",
        "of a flagged stage's first block: that of the stage before, by 'torchvision' or 'survey'"
        " (which dilates both convolutions of basic blocks), or 2, by 'template'",
        one_of("template", "torchvision", "survey"),
    ),
    "se": Option(False, "squeeze-and-excitation in every block", truth),
    "ceil_mode": Option(
        False, "a last partial window in the stem's max-pool, which makes 129 pixels of 512", truth
    ),
}


def build(options, *, dtype: DTypeLike = jnp.float32) -> nn.Module:
    """The ResNet of these `OPTIONS`."""
    return ResNet(
        depth=options.depth,
        width=options.width,
        flags=tuple(_FLAGS[flag] for flag in options.replace_stride_with_dilation),
        dilation_rule=options.dilation_rule,
        se=options.se,
        ceil_mode=options.ceil_mode,
        dtype=dtype,
    )


def _published_layer(layer: str) -> str | None:
    """'encoder/layer1_0/downsample_bn' ─► 'layer1.0.downsample.1'; None for what it lacks."""
    if not layer.startswith("encoder/") or "/se/" in layer:
        return None
    name = layer.removeprefix("encoder/").replace("downsample_conv", "downsample.0")
    return name.replace("downsample_bn", "downsample.1").replace("_", ".").replace("/", ".")


PUBLISHED = encoders.Published(
    layer=_published_layer,
    options={"width": 64},
    size="depth",
    sources={
        "resnet18": encoders.Source(
            "resnet18-f37072fd.pth",
            "timm/resnet18.tv_in1k",
            "bbd144b3e5565108aad885f145491d11bc6ce807",
            "694f673df6520a3158624e8a89af086f59923ee4cd7436fe5bc3bc71d295ad81",
        ),
        "resnet34": encoders.Source(
            "resnet34-b627a593.pth",
            "timm/resnet34.tv_in1k",
            "1b7b21cca82ff974d341713f777bf740c2db38c4",
            "0bb82595a564991a9d424708b33f5d843f5aaed7f6c0886ff10849ff97022235",
        ),
        "resnet50": encoders.Source(
            "resnet50-0676ba61.pth",
            "timm/resnet50.tv_in1k",
            "78f3ecfdb38e06d9b8397f662e7ab8fee96026fa",
            "5d061a3c593d795bfe682d9b152bafbcf550579873492def3515b46db1189888",
        ),
        "resnet101": encoders.Source("resnet101-63fe2227.pth", "timm/resnet101.tv_in1k"),
    },
)


def plan(flags: tuple[bool, bool, bool], dilation_rule: str) -> tuple[tuple[int, int, int], ...]:
    """What strides and dilations follow from the flags.

    Returns:
      For stages 1 to 4: stride of the first block, dilation of the first block, dilation of the
      others. With rule 'template', FTT gives (1, 1, 1), (2, 1, 1), (1, 2, 2), (1, 2, 4).
    """
    stages = [(1, 1, 1)]
    dilation = 1
    for flagged in flags:
        stride, first = 2, dilation
        if flagged:
            stride, dilation = 1, 2 * dilation
            first = 2 if dilation_rule == "template" else first
        stages.append((stride, first, dilation))
    return tuple(stages)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions. The first carries the stride, the second the dilation.

    Attributes:
      planes: channels.
      stride: of the first convolution.
      dilation: of the second convolution.
      se: squeeze-and-excitation.
      dtype: compute type.
      first_dilation: of the first convolution, 1 by most rules.
    """

    planes: int
    stride: int
    dilation: int
    se: bool
    dtype: DTypeLike
    first_dilation: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = _conv(
            self.planes,
            3,
            stride=self.stride,
            dilation=self.first_dilation,
            dtype=self.dtype,
            name="conv1",
        )(x)
        y = nn.relu(layers.BatchNorm(dtype=self.dtype, name="bn1")(y, train=train))
        y = _conv(self.planes, 3, dilation=self.dilation, dtype=self.dtype, name="conv2")(y)
        y = layers.BatchNorm(dtype=self.dtype, name="bn2")(y, train=train)
        return _residual(self, x, y, train=train)


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 convolutions, the last ×4 wider. The 3×3 carries stride and dilation."""

    planes: int
    stride: int
    dilation: int
    se: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = _conv(self.planes, 1, dtype=self.dtype, name="conv1")(x)
        y = nn.relu(layers.BatchNorm(dtype=self.dtype, name="bn1")(y, train=train))
        y = _conv(
            self.planes,
            3,
            stride=self.stride,
            dilation=self.dilation,
            dtype=self.dtype,
            name="conv2",
        )(y)
        y = nn.relu(layers.BatchNorm(dtype=self.dtype, name="bn2")(y, train=train))
        y = _conv(4 * self.planes, 1, dtype=self.dtype, name="conv3")(y)
        y = layers.BatchNorm(dtype=self.dtype, name="bn3")(y, train=train)
        return _residual(self, x, y, train=train)


def _residual(block, x: jax.Array, y: jax.Array, *, train: bool) -> jax.Array:
    """ReLU(shortcut(x) + y); a projection where `block` changes the resolution or the width."""
    if block.se:
        y = layers.SqueezeExcitation(dtype=block.dtype, name="se")(y)
    if block.stride != 1 or x.shape[-1] != y.shape[-1]:
        x = _conv(y.shape[-1], 1, stride=block.stride, dtype=block.dtype, name="downsample_conv")(x)
        x = layers.BatchNorm(dtype=block.dtype, name="downsample_bn")(x, train=train)
    return nn.relu(x + y)


def _conv(features: int, kernel_size: int, **options) -> layers.Conv:
    return layers.Conv(features, kernel_size, kernel_init="kaiming_normal_fan_out", **options)


class ResNet(nn.Module):
    """Stem, max-pool, four stages. Without weights: Kaiming normal, fan_out (report B)."""

    depth: int
    width: int
    flags: tuple[bool, bool, bool]
    dilation_rule: str
    se: bool
    dtype: DTypeLike
    ceil_mode: bool = False

    def __call__(self, image: jax.Array, *, train: bool) -> encoders.Pyramid:
        """Computes the features of every stage.

        Args:
          image: normalised, [B, H, W, 3], any H and W.
          train: normalise by the batch, and update the running statistics.

        Returns:
          [B, ⌈H/stride⌉, ⌈W/stride⌉, c] of the image (1), the stem (2) and the stages, the last one
          of a stride; stage 1 is the skip. With `ceil_mode` strides from 4 on may have one row and
          column more.
        """
        stem, stages = self.stages(image, train=train)
        return self.pyramid(image, stem, [last for _, last in stages])

    def setup(self):
        self.conv1 = _conv(self.width, 7, stride=2, dtype=self.dtype)
        self.bn1 = layers.BatchNorm(dtype=self.dtype)
        for number, (stride, first, others) in enumerate(self.plan, start=1):
            for index, name in enumerate(self._blocks(number)):
                dilations = (first, others) if index == 0 else (others, others)
                strided = stride if index == 0 else 1
                setattr(self, name, self._block(number, strided, dilations))

    def _block(self, number: int, stride: int, dilations: tuple[int, int]) -> nn.Module:
        """A block of a stage; `dilations` of what carries the stride, and of what follows."""
        options = {
            "planes": self.width * 2 ** (number - 1),
            "stride": stride,
            "dilation": dilations[0],
            "se": self.se,
            "dtype": self.dtype,
        }
        if self.depth >= 50:
            return Bottleneck(**options)
        if self.dilation_rule == "survey":
            options |= {"first_dilation": dilations[0], "dilation": dilations[1]}
        return BasicBlock(**options)

    def _blocks(self, number: int) -> list[str]:
        """The names of a stage's blocks."""
        return [f"layer{number}_{index}" for index in range(_BLOCKS[self.depth][number - 1])]

    @property
    def plan(self) -> tuple[tuple[int, int, int], ...]:
        """See `plan` of the module."""
        return plan(self.flags, self.dilation_rule)

    def stages(self, image: jax.Array, *, train: bool):
        """As `__call__`, but returns the stem's features and, for every stage, the features before
        and after its last block."""
        stem = self.stem(image, train=train)
        x = self.pooled(stem)
        stages = []
        for number in range(1, 1 + STAGES):
            before, x = self.stage(number, x, train=train)
            stages.append((before, x))
        return stem, stages

    def stem(self, image: jax.Array, *, train: bool) -> jax.Array:
        """The stem's features, at stride 2."""
        return nn.relu(self.bn1(self.conv1(image), train=train))

    def pooled(self, stem: jax.Array) -> jax.Array:
        """What the first stage is given, at stride 4."""
        pool = pooling.max_pool_ceil if self.ceil_mode else layers.max_pool
        return pool(stem, 3, stride=2, padding=1)

    def stage(self, number: int, x: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """The features before and after the last block of a stage, 1 to `STAGES`."""
        for name in self._blocks(number):
            before = x
            x = getattr(self, name)(x, train=train)
        return before, x

    def pyramid(
        self, image: jax.Array, stem: jax.Array, stages: Sequence[jax.Array]
    ) -> encoders.Pyramid:
        """The features of all strides, from those of the stem and after every stage."""
        features = {1: image, 2: stem}
        output_stride = 4
        for last, (stride, _, _) in zip(stages, self.plan, strict=True):
            output_stride *= stride
            features[output_stride] = last
        return encoders.Pyramid(features, skip=stages[0])
