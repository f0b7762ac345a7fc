"""Stacked U-Nets (Shah et al. 2018, report D): a backbone of small U-Nets, one after the other.

With width N, 64 in SUNet-64, blocks put out 4N, 8N, 12N and 16N channels. The U-Nets of the last
block go down once ("U-Net+"), the others twice. Blocks after the output stride dilate instead of
pooling. Biases start at 0.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import encoders, layers
from mtl_jax._options import Option, each, one_of, rate, whole
from mtl_jax.layers import pooling, transposed

MOMENTUM = 0.99  # of running statistics; PyTorch's 0.01
_POOLS = {8: 1, 16: 2, 32: 3}

OPTIONS = {
    "width": Option(64, "N, channels inside every U-Net", whole(least=1)),
    "blocks": Option(
        (2, 4, 4, 1), "how many U-Nets each block has", each(whole(least=1), length=4)
    ),
    "output_stride": Option(16, "of the last features", one_of(*_POOLS)),
    "dropout": Option(
        0.0, "share dropped after every convolution of the residual block and the U-Nets", rate
    ),
    "init": Option("kaiming_normal_fan_out", "kernel initialiser", one_of(*layers.INITIALIZERS)),
}


def build(options, *, dtype: DTypeLike = jnp.float32) -> nn.Module:
    """The backbone of these `OPTIONS`."""
    return SUNet(
        width=options.width,
        blocks=options.blocks,
        pools=_POOLS[options.output_stride],
        dropout=options.dropout,
        kernel_init=options.init,
        dtype=dtype,
    )


class _Base(nn.Module):
    """The steps that the blocks below are made of."""

    dropout: float
    kernel_init: str
    dtype: DTypeLike

    def _activate(self, x, name: str, *, train: bool, momentum: float = MOMENTUM) -> jax.Array:
        """BatchNorm ─► ReLU."""
        return nn.relu(
            layers.BatchNorm(momentum=momentum, dtype=self.dtype, name=name)(x, train=train)
        )

    def _conv(self, x, features: int, name: str, *, train: bool, kernel_size: int = 3, **options):
        """Convolution ─► dropout."""
        x = layers.Conv(features, kernel_size, name=name, **self._options, **options)(x)
        return nn.Dropout(self.dropout, deterministic=not train)(x)

    def _transposed(self, x, features: int, name: str, *, train: bool, **options) -> jax.Array:
        """Transposed convolution ─► dropout."""
        x = transposed.ConvTranspose(features, name=name, **self._options, **options)(x)
        return nn.Dropout(self.dropout, deterministic=not train)(x)

    @property
    def _options(self) -> dict:
        return {
            "use_bias": True,
            "kernel_init": self.kernel_init,
            "bias_init": "zeros",
            "dtype": self.dtype,
        }


class Residual(_Base):
    """Pre-activated residual block of stride 2, whose shortcut is a 1×1 convolution."""

    features: int = 0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = self._activate(x, "bn0", train=train)
        y = self._conv(x, self.features, "conv1", train=train, stride=2)
        # The published code leaves this one BatchNorm at PyTorch's usual momentum.
        y = self._activate(y, "bn1", train=train, momentum=0.9)
        y = self._conv(y, self.features, "conv2", train=train)
        shortcut = layers.Conv(self.features, 1, stride=2, name="shortcut", **self._options)
        return y + shortcut(x)


class UNet(_Base):
    """One pre-activated U-Net with a shortcut around it.

    Attributes:
      width: N, channels inside.
      features: of the output.
      levels: how often it goes down, 1 or 2.
      dilation: 0 halves the resolution at each level; otherwise the dilation of level 0, which
        doubles at level 1, and nothing changes the resolution.
    """

    width: int = 0
    features: int = 0
    levels: int = 2
    dilation: int = 0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, c] ─► [B, H, W, features]."""
        conv = functools.partial(self._conv, train=train, kernel_size=1)
        h = self._activate(x, "bn", train=train)
        shortcut = x
        if x.shape[-1] != self.features:
            shortcut = layers.Conv(self.features, 1, name="shortcut", **self._options)(h)
        h = conv(h, self.width, "reduce")
        skips = []
        for level in range(self.levels):
            skips.append(h)
            h = self._down(h, level, train=train)
        for level in reversed(range(self.levels)):
            h = self._up(h, level, skips[level].shape[1:3], train=train)
            if level:
                h = jnp.concatenate([h, skips[level]], axis=-1)
        h = self._activate(h, "expand_bn", train=train)
        return conv(h, self.features, "expand") + shortcut

    def _down(self, x: jax.Array, level: int, *, train: bool) -> jax.Array:
        rate = self.dilation * 2**level
        conv = functools.partial(self._conv, features=self.width, train=train)
        x = self._activate(x, f"down{level}_bn1", train=train)
        step = {"dilation": rate} if rate else {"stride": 2}
        x = conv(x, name=f"down{level}_conv1", **step)
        x = self._activate(x, f"down{level}_bn2", train=train)
        return conv(x, name=f"down{level}_conv2", dilation=2 * rate or 1)

    def _up(self, x: jax.Array, level: int, size, *, train: bool) -> jax.Array:
        rate = self.dilation * 2**level
        x = self._activate(x, f"up{level}_bn1", train=train)
        step = {"stride": 2, "padding": 1, "output_padding": 1}
        if rate:
            step = {"stride": 1, "dilation": 2 * rate, "padding": 2 * rate, "output_padding": 0}
        x = self._transposed(x, self.width, f"up{level}_conv1", train=train, **step)
        x = x[:, : size[0], : size[1]]  # an odd side had been rounded up
        x = self._activate(x, f"up{level}_bn2", train=train)
        return self._conv(x, self.width, f"up{level}_conv2", train=train, dilation=rate or 1)


class SUNet(_Base):
    """Stem, residual block, four blocks of U-Nets with average pools between, BatchNorm, ReLU.

    Parameters: 5,885,248 at width 64 and blocks (2, 4, 4, 1).
    """

    width: int = 64
    blocks: tuple[int, ...] = (2, 4, 4, 1)
    pools: int = 2

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> encoders.Pyramid:
        """Computes the features of every block.

        Args:
          image: normalised, [B, H, W, 3], any H and W.
          train: normalise by the batch, update the running statistics, drop out.

        Returns:
          [B, ⌈H/stride⌉, ⌈W/stride⌉, c] of the image (1), the stem (2) and the blocks, the last one
          of a stride; block 1 is the skip.
        """
        common = (self.dropout, self.kernel_init, self.dtype)
        x = layers.Conv(self.width, 7, stride=2, name="conv1", **self._options)(image)
        features, stride = {1: image, 2: x}, 4
        x = Residual(*common, features=2 * self.width, name="residual1")(x, train=train)
        for block, count in enumerate(self.blocks):
            for index in range(count):
                x = UNet(
                    *common,
                    width=self.width,
                    features=4 * (block + 1) * self.width,
                    levels=1 if block == 3 else 2,
                    dilation=2 * max(0, block - self.pools),
                    name=f"unet{block + 1}_{index}",
                )(x, train=train)
            features[stride] = x
            if block == 0:
                skip = x
            if block < self.pools:
                x = pooling.average_pool_2x2(x)
                stride *= 2
        features[stride] = self._activate(x, "bn2", train=train)
        return encoders.Pyramid(features, skip=skip)
