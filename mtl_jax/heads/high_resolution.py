"""The head of HRNet (Wang et al. 2020): all scales at the finest one, mixed by one layer."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, encoders, layers

NEEDS = "strides"
OPTIONS = {}
STRIDES = (4, 8, 16, 32)  # of the features that it joins


def side_by_side(maps: Sequence[jax.Array]) -> jax.Array:
    """All maps [B, h, w, c] resized to the first one's size, their channels side by side."""
    return jnp.concatenate([layers.resize_bilinear(x, maps[0].shape[1:3]) for x in maps], axis=-1)


class HighResolutionHead(nn.Module):
    """Scales side by side ─► 1×1, BatchNorm, ReLU ─► 1×1.

    Attributes:
      outputs: K; 0 leaves the last layer out.
      dtype: compute type; the last layer is float32.
    """

    outputs: int
    dtype: DTypeLike = jnp.float32

    def __call__(self, maps: Sequence[jax.Array], *, train: bool) -> jax.Array:
        """[B, h, w, c] each, the finest first ─► [B, h, w, K] float32, or [B, h, w, Σc]."""
        return self.with_features(maps, train=train)[0]

    @nn.compact
    def with_features(
        self, maps: Sequence[jax.Array], *, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """As `__call__`, and what the last layer reads, [B, h, w, Σc]."""
        x = side_by_side(maps)
        x = layers.Conv(x.shape[-1], 1, use_bias=True, dtype=self.dtype, name="conv")(x)
        x = nn.relu(layers.BatchNorm(dtype=self.dtype, name="bn")(x, train=train))
        if not self.outputs:
            return x, x
        return layers.Conv(self.outputs, 1, use_bias=True, name="score")(x), x


@dataclasses.dataclass(frozen=True)
class Branch:
    """What every task has to itself: see `HighResolutionHead`."""

    dtype: DTypeLike

    def __call__(
        self, pyramid: encoders.Pyramid, outputs: int, *, task: str, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Features ─► [B, H, W, outputs], [B, H, W, Σc], at stride 4.

        To be called within a compact module, of which `decoder_<task>` becomes a part.
        """
        maps = pyramid.need(STRIDES, by="The decoder 'high_resolution'")
        head = HighResolutionHead(outputs, self.dtype, name=f"decoder_{task}")
        return head.with_features(maps, train=train)


def branch(options) -> Branch:
    """The branch of `options.decoder`, which has no options, and `options.dtype`."""
    return Branch(dtype=_options.dtype(options.dtype))
