"""Swin-T/S/B/L (Liu et al. 2021), for images of any size.

Every stage's output goes through a layer norm of its own, the last one through `norm`, which the
classifier has too. Parameters are named as in the authors' files:
`layers.2.blocks.5.attn.qkv.weight` is `layers_2/blocks_5/attn/qkv/kernel`. In timm's files the
`downsample` of a stage is at the next one.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import layers
from mtl_jax._options import Option, one_of, rate, truth
from mtl_jax.encoders import _swin_files
from mtl_jax.encoders._low_rank import LOW_RANK, low_rank
from mtl_jax.encoders._published import Published, Source
from mtl_jax.encoders._pyramid import Pyramid
from mtl_jax.layers import transformer, windows

SIZES = {
    "T": (96, (2, 2, 6, 2)),
    "S": (96, (2, 2, 18, 2)),
    "B": (128, (2, 2, 18, 2)),
    "L": (192, (2, 2, 18, 2)),
}
HEAD_WIDTH = 32
EPSILON = 1e-5
OPTIONS = {
    "size": Option("T", "width 96, 96, 128, 192; 12 blocks in T, else 24", one_of(*SIZES)),
    "window": Option(7, "side of the windows, as the published file has it", one_of(7, 12)),
    "policy": Option(
        "dense",
        "'dense' shifts the windows of maps of one window too, 'torchvision' does not",
        one_of("dense", "torchvision"),
    ),
    "drop_path": Option(0.0, "stochastic depth of the last block, rising from 0", rate),
    **LOW_RANK,
    "remat": Option(False, "as train.remat, for the encoder's blocks alone and not heads", truth),
}


def build(options, *, dtype: DTypeLike = jnp.float32) -> nn.Module:
    """The Swin transformer of these `OPTIONS`."""
    width, depths = SIZES[options.size]
    return Swin(
        width=width,
        depths=depths,
        window=options.window,
        policy=options.policy,
        drop_path=options.drop_path,
        updates=low_rank(options),
        remat=options.remat,
        dtype=dtype,
    )


def _adapt(name: str, array: np.ndarray, shape: tuple[int, ...], options) -> np.ndarray:
    del options
    return _swin_files.resample(name, array, shape)


def _sources() -> dict[str, Source]:
    """ImageNet-22k's weights, MIT."""
    found = {}
    for size, window, pixels, release in (
        ("tiny", 7, 224, "v1.0.8"),
        ("small", 7, 224, "v1.0.8"),
        ("base", 7, 224, "v1.0.0"),
        ("base", 12, 384, "v1.0.0"),
        ("large", 7, 224, "v1.0.0"),
        ("large", 12, 384, "v1.0.0"),
    ):
        name = f"swin_{size}_patch4_window{window}_{pixels}"
        found[name] = Source(
            repo=f"timm/{name}.ms_in22k",
            url="https://github.com/SwinTransformer/storage/releases/download/"
            f"{release}/{name}_22k.pth",
        )
    return found


PUBLISHED = Published(
    layer=_swin_files.layer,
    leaves={"relative_position_bias_table": "relative_position_bias_table"},
    unused=("head.",),
    buffers=(".relative_position_index", ".attn_mask"),
    size="size",
    sources=_sources(),
    translate=_swin_files.translate,
    adapt=_adapt,
    describe=_swin_files.describe,
)


class SwinBlock(nn.Module):
    """x + window attention(norm(x)), then x + MLP(norm(x))."""

    heads: int
    window: int
    shifted: bool
    policy: str
    drop_path: float
    updates: transformer.LowRank
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        attention = windows.WindowAttention(
            self.heads,
            self.window,
            self.shifted,
            self.policy,
            updates=self.updates,
            dtype=self.dtype,
            name="attn",
        )
        mlp = transformer.Mlp(updates=self.updates, dtype=self.dtype, name="mlp")
        for index, branch in ((1, attention), (2, mlp)):
            norm = transformer.LayerNorm(EPSILON, dtype=self.dtype, name=f"norm{index}")
            y = branch(norm(x), train=train)
            path = transformer.DropPath(self.drop_path, name=f"drop_path{index}")
            x = x + path(y, train=train)
        return x


class Merging(nn.Module):
    """[B, H, W, C] ─► [B, ⌈H/2⌉, ⌈W/2⌉, 2C]: four neighbours side by side, normalised, mixed."""

    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
        # Rows first: the order that the published weights were trained with.
        x = jnp.concatenate([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], axis=-1)
        x = transformer.LayerNorm(EPSILON, dtype=self.dtype, name="norm")(x)
        width = x.shape[-1] // 2
        return transformer.Linear(width, use_bias=False, dtype=self.dtype, name="reduction")(x)


class Stage(nn.Module):
    """Blocks, every second of them shifted."""

    blocks: int
    heads: int
    window: int
    policy: str
    drop_path: tuple[float, ...]
    updates: transformer.LowRank
    merge: bool
    remat: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """(the stage's output, what the next one starts from)."""
        block = nn.remat(SwinBlock, static_argnums=(2,)) if self.remat else SwinBlock
        for index in range(self.blocks):
            x = block(
                heads=self.heads,
                window=self.window,
                shifted=index % 2 == 1,
                policy=self.policy,
                drop_path=self.drop_path[index],
                updates=self.updates,
                dtype=self.dtype,
                name=f"blocks_{index}",
            )(x, train)
        return x, Merging(self.dtype, name="downsample")(x) if self.merge else x


class PatchEmbed(nn.Module):
    """[B, H, W, 3] ─► [B, ⌈H/4⌉, ⌈W/4⌉, C], padded with zeros right and below."""

    width: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        pads = ((0, 0), (0, -image.shape[1] % 4), (0, -image.shape[2] % 4), (0, 0))
        x = layers.Conv(
            self.width, 4, stride=4, padding=(0, 0), use_bias=True, dtype=self.dtype, name="proj"
        )(jnp.pad(image, pads))
        return transformer.LayerNorm(EPSILON, dtype=self.dtype, name="norm")(x)


class Swin(nn.Module):
    """Four stages at strides 4, 8, 16, 32. See `OPTIONS`."""

    width: int
    depths: tuple[int, ...]
    window: int
    policy: str = "dense"
    drop_path: float = 0.0
    updates: transformer.LowRank = transformer.NO_UPDATES
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Pyramid:
        """The normalised output of every stage, [B, ⌈H/s⌉, ⌈W/s⌉, C·s/4] for s = 4, 8, 16, 32."""
        x = PatchEmbed(self.width, self.dtype, name="patch_embed")(image)
        total, done, outputs = sum(self.depths), 0, []
        for index, blocks in enumerate(self.depths):
            rates = [self.drop_path * (done + i) / (total - 1) for i in range(blocks)]
            done += blocks
            y, x = Stage(
                blocks=blocks,
                heads=self.width * 2**index // HEAD_WIDTH,
                window=self.window,
                policy=self.policy,
                drop_path=tuple(rates),
                updates=self.updates,
                merge=index < 3,
                remat=self.remat,
                dtype=self.dtype,
                name=f"layers_{index}",
            )(x, train=train)
            name = "norm" if index == 3 else f"norm{index}"
            outputs.append(transformer.LayerNorm(EPSILON, dtype=self.dtype, name=name)(y))
        return Pyramid(dict(zip((4, 8, 16, 32), outputs, strict=True)), skip=outputs[0])
