"""InvPT's decoder (Ye and Xu 2022): attention over the pixels of all tasks at once.

It is done at rising resolutions, and the scores of one are handed to the next. Every stage's keys
and values are pooled to the same number, so that its scores can be mixed with those of the stage
before.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import layers
from mtl_jax.layers import pooling, transformer

HEADS = 2
EPSILON = 1e-5


class CrossTaskAttention(nn.Module):
    """Every task's pixels ask, those of all tasks answer.

    Queries are made at half the resolution, by a depthwise convolution for each task; keys and
    values from averages over windows `pool` × `pool`. The projections are shared by the tasks.

    Attributes:
      pool: side of the windows.
      dtype: compute type.
    """

    pool: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, maps: list[jax.Array], message: jax.Array | None, *, train: bool
    ) -> tuple[list[jax.Array], jax.Array]:
        """Attends over T maps [B, H, W, C].

        Args:
          maps: one for each task, normalised.
          message: [B, heads, T·H/4·W/4, keys], the scores of the stage before, or None.
          train: normalise by the batch.

        Returns:
          T maps [B, H/2, W/2, C], and the scores [B, heads, T·H/2·W/2, keys], before the softmax.
        """
        width = maps[0].shape[-1]
        asking = [self._queries(x, i, train) for i, x in enumerate(maps)]
        size = asking[0].shape[1:3]
        answering = _tokens([pooling.average_pool_ceil(x, self.pool) for x in maps])
        q = self._project(_tokens(asking), "q")
        k, v = (self._project(answering, name) for name in ("k", "v"))
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=jnp.float32)
        scores = scores * width**-0.5  # of the whole width, not of a head's
        mix = transformer.Linear(HEADS, name="fuse")
        if message is not None:
            enlarged = _enlarged(message, len(maps), (size[0] // 2, size[1] // 2))
            both = jnp.moveaxis(jnp.concatenate([scores, enlarged], axis=1), 1, -1)
            scores = jnp.moveaxis(mix(both), -1, 1)
        elif self.is_initializing():
            mix(jnp.zeros((2 * HEADS,)))  # the first stage has it too, and nothing reads it
        weights = jax.nn.softmax(scores, axis=-1).astype(self.dtype)
        y = jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(q.shape[0], -1, width)
        y = transformer.Linear(width, dtype=self.dtype, name="proj")(y)
        return _maps(y, len(maps), size), scores

    def _queries(self, x: jax.Array, index: int, train: bool) -> jax.Array:
        conv = layers.DepthwiseConv(
            stride=2,
            kernel_init="pytorch",
            padding=(1, 1),
            dtype=self.dtype,
            name=f"query_{index}_conv",
        )
        norm = layers.BatchNorm(dtype=self.dtype, name=f"query_{index}_bn")
        return norm(conv(x), train=train)

    def _project(self, x: jax.Array, name: str) -> jax.Array:
        y = transformer.Linear(x.shape[-1], dtype=self.dtype, name=f"proj_{name}")(x)
        return y.reshape(*x.shape[:2], HEADS, -1)


class Enlarge(nn.Module):
    """×2, then two 3×3 convolutions of dilation 2, each with BatchNorm and ReLU."""

    features: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = layers.resize_bilinear(x, (2 * x.shape[1], 2 * x.shape[2]))
        for index in (0, 1):
            x = layers.ConvBNReLU(self.features, dilation=2, dtype=self.dtype, name=f"conv{index}")(
                x, train=train
            )
        return x


class Stage(nn.Module):
    """One resolution: attention across tasks, then an MLP; both residual.

    Attributes:
      pool: of the keys and values.
      dtype: compute type.
    """

    pool: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, maps: list[jax.Array], message: jax.Array | None, *, train: bool):
        """T maps [B, H, W, C] ─► T maps of the same shape, and the scores for the next stage."""
        size = maps[0].shape[1:3]
        norm1, norm2 = (
            transformer.LayerNorm(EPSILON, dtype=self.dtype, name=name)
            for name in ("norm1", "norm2")
        )
        mlp = transformer.Mlp(dtype=self.dtype, name="mlp")
        attention = CrossTaskAttention(self.pool, self.dtype, name="attn")
        told, scores = attention([norm1(x) for x in maps], message, train=train)
        maps = [x + layers.resize_bilinear(y, size) for x, y in zip(maps, told, strict=True)]
        return [x + mlp(norm2(x)) for x in maps], scores


def _tokens(maps: list[jax.Array]) -> jax.Array:
    """T maps [B, h, w, C] ─► [B, T·h·w, C], task after task."""
    return jnp.concatenate([x.reshape(x.shape[0], -1, x.shape[-1]) for x in maps], axis=1)


def _maps(tokens: jax.Array, count: int, size: tuple[int, int]) -> list[jax.Array]:
    """Undoes `_tokens`."""
    each = jnp.split(tokens, count, axis=1)
    return [x.reshape(x.shape[0], *size, x.shape[-1]) for x in each]


def _enlarged(scores: jax.Array, count: int, size: tuple[int, int]) -> jax.Array:
    """[B, heads, T·h·w, keys] ─► [B, heads, T·2h·2w, keys]: each task's queries interpolated."""
    batch, heads, _, keys = scores.shape
    grids = scores.reshape(batch * heads * count, *size, keys)
    grids = layers.resize_bilinear(grids, (2 * size[0], 2 * size[1]))
    return grids.reshape(batch, heads, -1, keys)
