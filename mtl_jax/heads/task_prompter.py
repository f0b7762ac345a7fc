"""What TaskPrompter (Ye and Xu 2023) does with the attention of the tasks' prompts."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import layers


class Selection(nn.Module):
    """A task's features of one level: what its prompt asks for, by patches and by channels.

    Both selections are x·(1 + s), with s of every patch for each head's channels, and of every
    channel for each window; each goes through a 1×1 convolution, then both together through 1×1,
    3×3, BatchNorm, GELU and 1×1.

    Attributes:
      selected: channels of each selection.
      width: of the result.
      dtype: compute type.
    """

    selected: int
    width: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, spatial: jax.Array, channel: jax.Array, *, train: bool
    ) -> jax.Array:
        """What the task's prompt asks for of the features.

        Args:
          x: [B, h, w, C].
          spatial: [B, heads, h, w], of each patch.
          channel: [B, s, s, C], of each channel within each of s × s windows.
          train: normalise by the batch.

        Returns:
          [B, h, w, width].
        """

        def conv(features: int, size: int, name: str) -> layers.Conv:
            return layers.Conv(features, size, use_bias=True, dtype=self.dtype, name=name)

        _, height, width, channels = x.shape
        by_patch = jnp.moveaxis(spatial, 1, -1)
        by_patch = jnp.repeat(by_patch, channels // by_patch.shape[-1], axis=-1)
        windows = channel.shape[1]
        by_channel = jnp.repeat(channel, height // windows, axis=1)
        by_channel = jnp.repeat(by_channel, width // windows, axis=2)
        selections = [
            conv(self.selected, 1, name)(x * (1 + asked).astype(x.dtype))
            for name, asked in (("spatial", by_patch), ("channel", by_channel))
        ]
        x = conv(self.width, 1, "join")(jnp.concatenate(selections, axis=-1))
        x = conv(self.width, 3, "conv")(x)
        x = layers.BatchNorm(dtype=self.dtype, name="bn")(x, train=train)
        return conv(self.width, 1, "leave")(layers.gelu(x))


class Affinity(nn.Module):
    """How much a task takes of every task: [B, T, heads] ─► [B, T], one hidden layer with GELU."""

    @nn.compact
    def __call__(self, asked: jax.Array) -> jax.Array:
        hidden = layers.Dense(asked.shape[-1], name="hidden")(asked)
        return layers.Dense(1, name="weight")(layers.gelu(hidden))[..., 0]
