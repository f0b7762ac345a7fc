"""The blocks of vision transformers (Dosovitskiy et al. 2021).

Tokens are [B, N, C]. Parameters are float32 whatever the compute `dtype`; layer norms and softmax
are in float32. Names follow the published checkpoints.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers
from jax.typing import DTypeLike

from mtl_jax.layers import _attention, _normalisation, broadcast
from mtl_jax.layers.activations import gelu
from mtl_jax.layers.initializers import initializer

# The leaves of `Linear`'s low-rank update.
LOW_RANK = ("lora_a", "lora_b")
# Kaiming uniform with a = √5, as the authors draw it: U(−1/√fan_in, 1/√fan_in).
_LOW_RANK = initializer("pytorch")


@dataclasses.dataclass(frozen=True)
class LowRank:
    """Which low-rank updates the layers of a transformer have (Hu et al. 2022).

    Attributes:
      rank: r; 0 = none.
      alpha: α; an update is scaled by α / r.
      mlp: of both layers of the MLP too, besides the attention's two projections.
      dropout: share of the values that an update reads which training drops, and the layer itself
        does not. It draws from the stream 'dropout'.
    """

    rank: int = 0
    alpha: float = 16.0
    mlp: bool = False
    dropout: float = 0.0


NO_UPDATES = LowRank()


class LayerNorm(nn.Module):
    """Normalises the last axis: (x − mean) / √(var + ε) · scale + bias, in float32.

    Attributes:
      epsilon: 1e-6 in vision transformers, 1e-5 in Swin and in PyTorch's default. On tokens of
        small variance they give different networks.
      dtype: of the output.
    """

    epsilon: float = 1e-6
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", initializers.ones, (x.shape[-1],), jnp.float32)
        bias = self.param("bias", initializers.zeros, (x.shape[-1],), jnp.float32)
        return _normalisation.normalise_tokens(x, scale, bias, self.epsilon).astype(self.dtype)


class Linear(nn.Module):
    """x W + b over the last axis; starts as transformers do, W from N(0, 0.02²) and b = 0.

    With updates of rank r a second, low-rank product is added (Hu et al. 2022),
    (α / r) · (dropout(x) A) B, with B = 0 at the start, so that the layer begins as it was without.

    Attributes:
      features: output width.
      use_bias: adds b.
      updates: rank and scale of that product.
      dtype: compute type.
    """

    features: int
    use_bias: bool = True
    updates: LowRank = NO_UPDATES
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """[..., C] ─► [..., features]; `train` is for the dropout of updates alone."""
        width = x.shape[-1]
        kernel = self.param(
            "kernel", initializer("transformer"), (width, self.features), jnp.float32
        )
        x = x.astype(self.dtype)
        y = x @ kernel.astype(self.dtype)
        if self.use_bias:
            bias = self.param("bias", initializers.zeros, (self.features,), jnp.float32)
            y = broadcast.add(y, bias)
        if rank := self.updates.rank:
            a = self.param("lora_a", _LOW_RANK, (width, rank), jnp.float32)
            b = self.param("lora_b", initializers.zeros, (rank, self.features), jnp.float32)
            x = nn.Dropout(self.updates.dropout, deterministic=not train)(x)
            low = (x @ a.astype(self.dtype)) @ b.astype(self.dtype)
            y = y + low * (self.updates.alpha / rank)
        return y


def merge_low_rank(params: Any, alpha: float) -> Any:
    """The parameters of the same network without updates: W + (α / r) · A B in W's place.

    Args:
      params: a tree of dicts.
      alpha: of its layers' updates.
    """
    if not isinstance(params, Mapping):
        return params
    merged = {name: merge_low_rank(v, alpha) for name, v in params.items() if name not in LOW_RANK}
    if "lora_a" in params:
        a, b = params["lora_a"], params["lora_b"]
        product = jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
        merged["kernel"] = merged["kernel"] + (alpha / a.shape[-1]) * product
    return merged


class DropPath(nn.Module):
    """Leaves a residual branch out for whole examples (stochastic depth, Huang et al. 2016).

    In training each example's branch is dropped with probability `rate` and otherwise divided by
    1 − rate. It draws from the stream 'dropout'.
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if not train or self.rate == 0:
            return x
        shape = (x.shape[0], *(1,) * (x.ndim - 1))
        kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.rate, shape)
        return jnp.where(kept, x / (1 - self.rate), 0)


class Attention(nn.Module):
    """Multi-head self-attention, softmax(q kᵀ / √d) v; one fused projection to q, k and v.

    Attributes:
      heads: of width C / heads each; the columns of `qkv` are [q | k | v], each head after head.
      updates: of both projections.
      dtype: compute type.
    """

    heads: int
    updates: LowRank = NO_UPDATES
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        width = x.shape[-1]
        qkv = Linear(3 * width, updates=self.updates, dtype=self.dtype, name="qkv")(x, train=train)
        q, k, v = jnp.moveaxis(qkv.reshape(*x.shape[:2], 3, self.heads, -1), 2, 0)
        y = _attention.attend(q, k, v)
        proj = Linear(width, updates=self.updates, dtype=self.dtype, name="proj")
        return proj(y.reshape(x.shape), train=train)


class Mlp(nn.Module):
    """C ─► ratio·C ─► GELU, the exact one ─► C; with low-rank `updates` if they are `mlp`."""

    ratio: float = 4.0
    updates: LowRank = NO_UPDATES
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        width, inner = x.shape[-1], int(x.shape[-1] * self.ratio)
        updates = self.updates if self.updates.mlp else NO_UPDATES
        x = Linear(inner, updates=updates, dtype=self.dtype, name="fc1")(x, train=train)
        x = gelu(x)
        return Linear(width, updates=updates, dtype=self.dtype, name="fc2")(x, train=train)


class LayerScale(nn.Module):
    """x · γ, a learned factor for each channel (Touvron et al. 2021)."""

    initial: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = initializers.constant(self.initial)
        return broadcast.multiply(x, self.param("gamma", init, (x.shape[-1],), jnp.float32))


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)), on tokens [B, N, C].

    Attributes:
      heads: of the attention.
      layer_scale: what γ starts at, after attention and MLP; None = no such factors.
      drop_path: see `DropPath`, of both branches.
      updates: low-rank ones.
      epsilon: of the layer norms.
      dtype: compute type.
    """

    heads: int
    layer_scale: float | None = None
    drop_path: float = 0.0
    updates: LowRank = NO_UPDATES
    epsilon: float = 1e-6
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        attention = Attention(self.heads, self.updates, dtype=self.dtype, name="attn")
        mlp = Mlp(updates=self.updates, dtype=self.dtype, name="mlp")
        for index, branch in ((1, attention), (2, mlp)):
            norm = LayerNorm(self.epsilon, dtype=self.dtype, name=f"norm{index}")
            y = branch(norm(x), train=train)
            if self.layer_scale is not None:
                y = LayerScale(self.layer_scale, name=f"ls{index}")(y)
            x = x + DropPath(self.drop_path, name=f"drop_path{index}")(y, train=train)
        return x
