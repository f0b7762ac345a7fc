"""A top-down decoder for each task, over features of every stride (Lin et al. 2017)."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, encoders, layers
from mtl_jax._options import Option, whole


def _check_strides(value) -> str | None:
    fits = isinstance(value, tuple | list) and all(type(n) is int and n > 0 for n in value)
    if fits and value and list(value) == sorted(set(value)):
        return None
    return "rising strides, the finest first: (4, 8, 16, 32)"


NEEDS = "strides"
OPTIONS = {
    "channels": Option(64, "of everything within the decoder", whole(least=1)),
    "strides": Option((4, 8, 16, 32), "which features are read, the finest first", _check_strides),
}


class TopDownDecoder(nn.Module):
    """From the coarsest features to the finest: enlarged, the next ones added, ReLU, a 3×3 CBR.

    Every stride's features are first projected to `channels` by a 1×1 convolution with BatchNorm.
    Parameters: 181,459 for 24, 40, 112 and 320 ─► 64 channels ─► 19 outputs.

    Attributes:
      outputs: channels of the predictions.
      channels: of everything in between.
      strides: which features are read, the finest first.
      dtype: compute type; predictions are float32.
    """

    outputs: int
    channels: int = 64
    strides: tuple[int, ...] = (4, 8, 16, 32)
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, pyramid: encoders.Pyramid, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Features ─► [B, H, W, outputs], [B, H, W, channels] at the finest stride.

        Raises:
          ConfigError: the encoder has no features of one of the strides.
        """
        features = pyramid.need(self.strides, by="config.model.decoder.strides")
        x = None
        for stride, y in reversed(tuple(zip(self.strides, features))):
            y = layers.Conv(self.channels, 1, dtype=self.dtype, name=f"lateral{stride}")(y)
            y = layers.BatchNorm(dtype=self.dtype, name=f"lateral{stride}_bn")(y, train=train)
            x = y if x is None else y + layers.resize_bilinear(x, y.shape[1:3])
            cbr = layers.ConvBNReLU(self.channels, dtype=self.dtype, name=f"conv{stride}")
            x = cbr(nn.relu(x), train=train)
        return layers.Conv(self.outputs, 1, use_bias=True, name="predict")(x), x


@dataclasses.dataclass(frozen=True)
class Branch:
    """What every task has to itself: see `TopDownDecoder`."""

    channels: int
    strides: tuple[int, ...]
    dtype: DTypeLike

    def __call__(
        self, pyramid: encoders.Pyramid, outputs: int, *, task: str, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Features ─► [B, H, W, outputs], [B, H, W, channels].

        To be called within a compact module, of which `decoder_<task>` becomes a part.
        """
        decoder = TopDownDecoder(
            outputs, self.channels, self.strides, self.dtype, name=f"decoder_{task}"
        )
        return decoder(pyramid, train=train)


def branch(options) -> Branch:
    """The branch of `options.decoder`, these `OPTIONS`, and `options.dtype`."""
    return Branch(
        channels=options.decoder.channels,
        strides=options.decoder.strides,
        dtype=_options.dtype(options.dtype),
    )
