"""What MLoRE (Yang et al. 2024) gives each task of its own: a side of every block, and a fusion."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import layers
from mtl_jax.layers import broadcast, experts


def conv(features: int, size: int, dtype: DTypeLike, name: str, **options) -> layers.Conv:
    """A convolution with bias."""
    return layers.Conv(features, size, use_bias=True, dtype=dtype, name=name, **options)


class Side(nn.Module):
    """One task's way through a block, whose experts and plain convolution all tasks share.

    x = 1×1(given); y = BN(Σ gate·expert(x)) + factor·own(x) + convolution(x), the last of which
    sends no gradient back into x; result 1×1(GELU(BN(y))).

    Attributes:
      rank: of the task's own two convolutions.
      kept: how many experts have a gate that is not 0.
      before_softmax: see `experts.gates`.
      noise: added to scores in training.
      dtype: compute type.
    """

    rank: int
    kept: int
    before_softmax: bool
    noise: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        given: jax.Array,
        shared: tuple[experts.Experts, layers.Conv],
        *,
        train: bool,
    ) -> tuple[jax.Array, jax.Array]:
        """[B, h, w, C] ─► [B, h, w, C], gates [B, E]."""
        width = given.shape[-1]
        mixture, plain = shared
        x = conv(width, 1, self.dtype, "enter")(given)
        router = experts.Router(len(mixture.ranks), self.dtype, name="router")
        scores, scale, factor = router(x)
        if train and self.noise:
            scores = scores + scale * jax.random.normal(self.make_rng("dropout"), scores.shape)
        gates = experts.gates(scores, self.kept, before_softmax=self.before_softmax)
        own = conv(self.rank, 3, self.dtype, "own_down")(x)
        own = conv(width, 1, self.dtype, "own_up")(own)
        y = layers.BatchNorm(dtype=self.dtype, name="mixture_bn")(mixture(x, gates), train=train)
        y = y + broadcast.multiply(own, factor[:, None, None])
        y = y + plain(jax.lax.stop_gradient(x))
        y = layers.BatchNorm(dtype=self.dtype, name="bn")(y, train=train)
        return conv(width, 1, self.dtype, "leave")(layers.gelu(y)), gates


class Fusion(nn.Module):
    """A mean of maps whose weights, which sum to 1, are made of all of them at every pixel."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: list[jax.Array], *, train: bool) -> jax.Array:
        """L maps [B, h, w, C] ─► [B, h, w, C]."""
        x = conv(maps[0].shape[-1], 1, self.dtype, "reduce")(jnp.concatenate(maps, axis=-1))
        x = layers.BatchNorm(dtype=self.dtype, name="bn")(x, train=train)
        scores = conv(len(maps), 3, self.dtype, "score")(layers.gelu(x))
        weights = jax.nn.softmax(scores.astype(jnp.float32), axis=-1)
        each = enumerate(maps)
        return sum(broadcast.multiply(x, weights[..., i : i + 1]) for i, x in each)


class Head(nn.Module):
    """×4 ─► 3×3, BatchNorm, GELU ─► 1×1."""

    outputs: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, h, w, C] ─► [B, 4h, 4w, outputs] float32."""
        x = layers.resize_bilinear(x, (4 * x.shape[1], 4 * x.shape[2]))
        x = conv(x.shape[-1], 3, self.dtype, "conv", kernel_init="transformer")(x)
        x = layers.BatchNorm(dtype=self.dtype, name="bn")(x, train=train)
        return conv(self.outputs, 1, jnp.float32, "predict")(layers.gelu(x))
