"""Low-rank experts and the router that weights them (Yang et al. 2024, "MLoRE")."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.nn import initializers
from jax.typing import DTypeLike

from mtl_jax.layers import _convolution, broadcast, transformer
from mtl_jax.layers.activations import gelu
from mtl_jax.layers.blocks import Conv, Dense
from mtl_jax.layers.initializers import initializer

EPSILON = 1e-5  # of the router's layer norms


class Weights(nn.Module):
    """Kernel [k, k, inputs, features] and bias [features] of a convolution that others compute."""

    features: int
    kernel_size: int

    @nn.compact
    def __call__(self, inputs: int) -> tuple[jax.Array, jax.Array]:
        shape = (self.kernel_size, self.kernel_size, inputs, self.features)
        kernel = self.param("kernel", initializer("pytorch"), shape, jnp.float32)
        return kernel, self.param("bias", initializers.zeros, (self.features,), jnp.float32)


class Experts(nn.Module):
    """Σ_e gate_e · expert_e(x), each expert a 3×3 convolution to its rank and a 1×1 back.

    All of them are computed as one: gates are constant over an image, so they may stand between the
    two convolutions.

    Attributes:
      ranks: of the experts.
      dtype: compute type.
    """

    ranks: tuple[int, ...]
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, gates: jax.Array) -> jax.Array:
        """[B, h, w, C], [B, E] ─► [B, h, w, C]."""
        width = x.shape[-1]
        down = [Weights(r, 3, name=f"down{i}")(width) for i, r in enumerate(self.ranks)]
        up = [Weights(width, 1, name=f"up{i}")(r) for i, r in enumerate(self.ranks)]
        kernel, bias = (jnp.concatenate(each, axis=-1) for each in zip(*down, strict=True))
        y = _convolution.convolve(
            x.astype(self.dtype), kernel.astype(self.dtype), stride=1, padding=(1, 1), dilation=1
        )
        of_channel = np.repeat(np.arange(len(self.ranks)), self.ranks)
        y = broadcast.multiply(broadcast.add(y, bias), gates[:, None, None, of_channel])
        kernel = jnp.concatenate([k[0, 0] for k, _ in up]).astype(self.dtype)
        bias = gates @ jnp.stack([b for _, b in up])
        return broadcast.add(y @ kernel, bias[:, None, None])


class Router(nn.Module):
    """What an image's features say of the experts.

    From channels' means of a narrowed map, and from a learned mean over all positions, which binds
    it to one size of images.

    Attributes:
      experts: E.
      dtype: compute type; the result is float32.
    """

    experts: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """[B, h, w, C] ─► scores [B, E], the scale of their noise [B, E], a factor [B, 1]."""
        width = x.shape[-1]
        narrow = width // 4
        mean = Conv(narrow, 1, use_bias=True, dtype=self.dtype, name="narrow")(x)
        mean = transformer.LayerNorm(EPSILON, dtype=self.dtype, name="narrow_norm")(mean)
        mean = gelu(mean)
        mean = Conv(narrow, 1, use_bias=True, dtype=self.dtype, name="mean")(mean)
        mean = mean.astype(jnp.float32).mean((1, 2))
        places = jnp.moveaxis(x.reshape(x.shape[0], -1, width), 1, 2)
        weighted = transformer.Linear(1, dtype=self.dtype, name="places")(places)[..., 0]
        weighted = transformer.LayerNorm(EPSILON, dtype=self.dtype, name="places_norm")(weighted)
        weighted = Dense(narrow, self.dtype, name="weighted")(gelu(weighted))
        both = jnp.concatenate([mean, weighted.astype(jnp.float32)], axis=-1)
        found = Dense(2 * self.experts + 1, name="score")(both)
        scores, noise, factor = jnp.split(found, (self.experts, 2 * self.experts), axis=-1)
        return scores, noise, factor


def gates(scores: jax.Array, kept: int, *, before_softmax: bool) -> jax.Array:
    """[B, E] scores ─► [B, E] gates, of which all but the largest `kept` are 0.

    With `before_softmax` the others are left out of it, so that gates sum to 1; otherwise they are
    set to 0 after it, and the rest is not normalised again. Both are in the authors' code.
    """
    count = scores.shape[-1]
    rank = jnp.argsort(jnp.argsort(scores, axis=-1), axis=-1)
    out = rank < count - kept
    if before_softmax:
        return jax.nn.softmax(jnp.where(out, -1e10, scores), axis=-1)
    return jnp.where(out, 0.0, jax.nn.softmax(scores, axis=-1))
