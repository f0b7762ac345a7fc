"""TaskPrompter's transformer (Ye and Xu 2023): a ViT in which a token of each task goes along."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax.encoders.vit import ViT
from mtl_jax.layers import transformer


class Level(NamedTuple):
    """What heads get of one block.

    Attributes:
      features: [B, h, w, C].
      spatial: [B, heads, T, h, w], how much each task's prompt asks for each patch: q·k, neither
        scaled nor normalised.
      between: [B, heads, T, T], the same for other prompts.
      channel: [B, T, s, s, C], how much it asks for each channel within each of s × s windows.
    """

    features: jax.Array
    spatial: jax.Array
    between: jax.Array
    channel: jax.Array


class Attention(nn.Module):
    """Attention of prompts and patches to each other, and of prompts to channels.

    Attributes:
      heads: of the attention.
      windows: s, see `Level`.
      grid: (h, w) of the patches, which a layer from C to h·w and its reverse bind it to.
      dtype: compute type.
    """

    heads: int
    windows: int
    grid: tuple[int, int]
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, prompts: jax.Array, x: jax.Array):
        """[B, T, C], [B, h·w, C] ─► the same two, and the rest of a `Level`."""
        batch, count, width = prompts.shape
        both = jnp.concatenate([prompts, x], axis=1)
        qkv = transformer.Linear(3 * width, dtype=self.dtype, name="qkv")(both)
        q, k, v = jnp.moveaxis(qkv.reshape(*both.shape[:2], 3, self.heads, -1), 2, 0)
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(scores * (width // self.heads) ** -0.5, axis=-1)
        y = jnp.einsum("bhqk,bkhd->bqhd", weights.astype(self.dtype), v).reshape(both.shape)
        y = transformer.Linear(width, dtype=self.dtype, name="proj")(y)
        places = self.grid[0] * self.grid[1]
        asked = transformer.Linear(places, dtype=self.dtype, name="token_trans")(prompts)
        told = transformer.Linear(width, dtype=self.dtype, name="token_trans1")(asked)
        s = self.windows
        windows = (batch, -1, s, self.grid[0] // s, s, self.grid[1] // s)
        channel = jnp.einsum(
            "btihjw,bihjwc->btijc",
            asked.reshape(windows),
            x.reshape(batch, *windows[2:], width),
            preferred_element_type=jnp.float32,
        )
        asks = scores[:, :, :count]
        spatial = asks[..., count:].reshape(*asks.shape[:3], *self.grid)
        return y[:, :count] + told, y[:, count:], (spatial, asks[..., :count], channel)


def drawn_prompts(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
    """From N(1, 1), but between −2 and 2, which is where the authors' library cuts it off."""
    return 1.0 + jax.random.truncated_normal(key, -3.0, 1.0, shape, dtype)


class Block(nn.Module):
    """A transformer's block; norms, projections and MLP are those of patches and prompts alike."""

    heads: int
    windows: int
    grid: tuple[int, int]
    drop_path: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, prompts: jax.Array, x: jax.Array, train: bool):
        norm1, norm2 = (
            transformer.LayerNorm(dtype=self.dtype, name=name) for name in ("norm1", "norm2")
        )
        attention = Attention(self.heads, self.windows, self.grid, self.dtype, name="attn")
        mlp = transformer.Mlp(dtype=self.dtype, name="mlp")
        drop = transformer.DropPath(self.drop_path)
        told, y, asked = attention(norm1(prompts), norm1(x))
        x = x + drop(y, train=train)
        x = x + drop(mlp(norm2(x)), train=train)
        prompts = prompts + drop(told, train=train)
        prompts = prompts + drop(mlp(norm2(prompts)), train=train)
        return prompts, x, asked


class PromptedViT(ViT):
    """A `ViT` without a class token, with a learned prompt for each task.

    Attributes:
      prompts: how many tasks.
      windows: s, see `Level`; it divides both sides of the table of positions.
    """

    prompts: int = 1
    windows: int = 1

    @property
    def unread(self) -> dict[str, str]:
        """What the last block tells the prompts, which nobody asks any more."""
        layer = f"blocks_{self.depth - 1}/attn/token_trans1"
        return dict.fromkeys((f"{layer}/kernel", f"{layer}/bias"), "no block follows the last")

    @property
    def image_size(self) -> tuple[int, int]:
        """The one size that it takes: layers have a weight for every patch of the table."""
        return self.table[0] * self.patch, self.table[1] * self.patch

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> list[Level]:
        """Normalised image [B, H, W, 3] of `image_size` ─► a `Level` for each tap.

        Features are raw, but those of the last block, which go through the final norm.
        """
        x, grid = self._embedded(image)
        shape = (self.prompts, self.width)
        prompts = self.param("task_prompts", drawn_prompts, shape, jnp.float32)
        prompts = jnp.broadcast_to(prompts, (x.shape[0], *prompts.shape)).astype(self.dtype)
        levels = []
        block = nn.remat(Block, static_argnums=(3,)) if self.remat else Block
        for index in range(self.depth):
            prompts, x, asked = block(
                self.heads,
                self.windows,
                grid,
                self.drop_path * index / max(self.depth - 1, 1),
                self.dtype,
                name=f"blocks_{index}",
            )(prompts, x, train)
            if index in self.taps:
                y = x
                if index == self.depth - 1:
                    y = transformer.LayerNorm(dtype=self.dtype, name="norm")(x)
                levels.append(Level(y.reshape(x.shape[0], *grid, self.width), *asked))
        return levels
