"""Vision transformers: ViT-T/S/B/L (Dosovitskiy et al. 2021) and DINOv2 (Oquab et al. 2024).

Images may have any size that is a multiple of the patch. Parameters are named as in timm's and
DINOv2's files: `blocks.3.attn.qkv.weight` is `blocks_3/attn/qkv/kernel`.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.nn import initializers
from jax.typing import DTypeLike

from mtl_jax import encoders, layers
from mtl_jax._options import Option, each, one_of, rate, truth, whole
from mtl_jax.encoders import _vit_files
from mtl_jax.encoders._low_rank import LOW_RANK, low_rank
from mtl_jax.encoders._published import Published, Source
from mtl_jax.encoders._pyramid import Pyramid, Tokens
from mtl_jax.errors import ConfigError, UsageError
from mtl_jax.layers import broadcast, positions, transformer

GIVES = frozenset(("tokens",))
SIZES = {
    "T": (192, 12, 3),
    "S": (384, 12, 6),
    "B": (768, 12, 12),
    "L": (1024, 24, 16),
}  # width, blocks, heads


@dataclasses.dataclass(frozen=True)
class Variant:
    """What a published family has in common.

    Attributes:
      patch: side of a patch in pixels.
      trained_size: side in pixels of the images that its table of positions is for.
      positions: how its code resamples the table, see `mtl_jax.layers.positions`.
      layer_scale: what the factors after attention and MLP start at; None = there are none.
      registers: tokens without a place in the image, besides the class token.
      first_tap: of the 24 blocks of size L, the first of four that heads read.
    """

    patch: int
    trained_size: int
    positions: str
    layer_scale: float | None = None
    registers: int = 0
    first_tap: int = 4


VARIANTS = {
    "augreg": Variant(16, 224, "aa", first_tap=5),  # ImageNet, Steiner et al. 2022
    "dinov2": Variant(14, 518, "offset", layer_scale=1e-5),
    "dinov2_reg": Variant(14, 518, "aa", layer_scale=1e-5, registers=4),
}


def _check_table(value) -> str | None:
    return None if value == () or each(whole(least=1), length=2)(value) is None else "() or (h, w)"


def _check_taps(value) -> str | None:
    if value in ("even", "last") or (value and each(whole(least=0))(value) is None):
        return None
    return "'even', 'last' or numbers of blocks, from 0"


OPTIONS = {
    "size": Option("S", "12, 12, 12, 24 blocks of width 192, 384, 768, 1024", one_of(*SIZES)),
    "variant": Option(
        "augreg", "patch 16, or DINOv2's patch 14 without or with registers", one_of(*VARIANTS)
    ),
    "table": Option(
        (), "(h, w) of the table of positions, in patches; () = published", _check_table
    ),
    "positions": Option(
        "",
        "how the table is resampled: 'aa', 'plain' or 'offset'; '' as published",
        one_of("", *positions.RULES),
    ),
    "taps": Option(
        "even",
        "blocks that heads read: four, evenly spaced; the 'last' four; or their numbers, from 0",
        _check_taps,
    ),
    "class_token": Option(
        True, "beside the patches; MLoRE and TaskPrompter leave it out, of the table too", truth
    ),
    "drop_path": Option(0.0, "stochastic depth of the last block, rising from 0", rate),
    **LOW_RANK,
    "remat": Option(False, "as train.remat, for the encoder's blocks alone and not heads", truth),
}


def build(options, *, dtype: DTypeLike = jnp.float32) -> nn.Module:
    """The transformer of these `OPTIONS`.

    Raises:
      ConfigError: `taps` are not rising or beyond the last block.
    """
    width, depth, heads = SIZES[options.size]
    variant = VARIANTS[options.variant]
    side = variant.trained_size // variant.patch
    taps = options.taps
    if taps == "last":
        taps = tuple(range(depth - 4, depth))
    elif taps == "even":
        first = variant.first_tap if options.size == "L" else depth // 4 - 1
        taps = (first, *(i * depth // 4 - 1 for i in (2, 3, 4)))
    if list(taps) != sorted(set(taps)) or taps[-1] >= depth:
        raise ConfigError(
            f"config.model.encoder.taps={taps}; expected rising numbers of blocks, from 0 to "
            f"{depth - 1}, as size {options.size} has {depth} blocks."
        )
    return ViT(
        width=width,
        depth=depth,
        heads=heads,
        patch=variant.patch,
        table=options.table or (side, side),
        rule=options.positions or variant.positions,
        taps=taps,
        layer_scale=variant.layer_scale,
        registers=variant.registers,
        class_token=options.class_token,
        drop_path=options.drop_path,
        updates=low_rank(options),
        remat=options.remat,
        dtype=dtype,
    )


def image_statistics(options: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation that the published weights of a variant expect of pixels in [0, 1].

    The multi-task networks on ViT (InvPT and its successors) give theirs ImageNet's all the same.
    """
    if options.get("variant", OPTIONS["variant"].default) == "augreg":
        return (0.5,) * 3, (0.5,) * 3
    return encoders.IMAGENET_MEAN, encoders.IMAGENET_STD


def _adapt(name: str, array: np.ndarray, shape: tuple[int, ...], options) -> np.ndarray:
    given = {key: options.get(key, option.default) for key, option in OPTIONS.items()}
    variant = VARIANTS[given["variant"]]
    side = variant.trained_size // variant.patch
    grid, rule = tuple(given["table"]) or (side, side), given["positions"] or variant.positions
    return _vit_files.resample(name, array, shape, grid, rule)


def _sources() -> dict[str, Source]:
    """ImageNet-21k's weights fine-tuned on ImageNet, and DINOv2's; all Apache-2.0."""
    found = {}
    for size in ("tiny", "small", "base", "large"):
        for pixels in (224, 384):
            name = f"vit_{size}_patch16_{pixels}"
            found[name] = Source(repo=f"timm/{name}.augreg_in21k_ft_in1k", url=_GOOGLE)
    for letter, size in (("s", "small"), ("b", "base"), ("l", "large")):
        folder = f"https://dl.fbaipublicfiles.com/dinov2/dinov2_vit{letter}14/dinov2_vit{letter}14_"
        for suffix, file, timm in (("", "", ""), ("_reg4", "reg4_", "reg4_")):
            found[f"dinov2_vit{letter}14{suffix}"] = Source(
                repo=f"timm/vit_{size}_patch14_{timm}dinov2.lvd142m",
                url=f"{folder}{file}pretrain.pth",
            )
    return found


_GOOGLE = "an .npz of https://storage.googleapis.com/vit_models/augreg/"
PUBLISHED = Published(
    layer=_vit_files.layer,
    leaves={
        name: name for name in ("cls_token", "pos_embed", "mask_token", "register_tokens", "gamma")
    },
    # Classifiers, heads of DINOv2's training, and where the network has no class token, as MLoRE
    # and TaskPrompter, that.
    unused=("head.", "pre_logits.", "dino_head.", "ibot_head.", "cls_token"),
    buffers=(),
    size="size",
    sources=_sources(),
    translate=_vit_files.translate,
    adapt=_adapt,
    describe=_vit_files.describe,
)


class ViT(nn.Module):
    """Patches ─► tokens ─► blocks; the features of some of them.

    Attributes:
      width, depth, heads, patch: of the network.
      table: (rows, columns) of the table of positions, in patches.
      rule: one of `positions.RULES`.
      taps: indices of blocks, rising.
      layer_scale, registers: see `Variant`.
      class_token: whether there is one; the table of positions has a row for it all the same.
      drop_path, remat: see `OPTIONS`.
      updates: low-rank ones of the blocks' layers.
      dtype: compute type.
    """

    width: int
    depth: int
    heads: int
    patch: int
    table: tuple[int, int]
    rule: str
    taps: tuple[int, ...]
    layer_scale: float | None = None
    registers: int = 0
    class_token: bool = True
    drop_path: float = 0.0
    updates: transformer.LowRank = transformer.NO_UPDATES
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    @property
    def size_multiple(self) -> int:
        """What both sides of an image are multiples of."""
        return self.patch

    @property
    def prefix(self) -> int:
        """How many tokens have no place in the image."""
        return int(self.class_token) + self.registers

    @property
    def unread(self) -> dict[str, str]:
        """Parameters that no feature depends on."""
        if self.layer_scale is None:
            return {}
        return {"mask_token": "DINOv2 stood it in for hidden patches while it learned"}

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Pyramid:
        """The tokens after every tap, and the last block's, normalised, as features.

        Args:
          image: normalised, [B, H, W, 3]; both sides multiples of the patch.
          train: drop paths.

        Returns:
          `tokens` of every tap; `features` at one stride, the patch's side.

        Raises:
          UsageError: a side is no multiple of the patch.
        """
        x, grid = self._embedded(image)
        block = transformer.Block
        if self.remat:
            block = nn.remat(block, static_argnums=(2,))
        raw = []
        for index in range(self.depth):
            x = block(
                heads=self.heads,
                layer_scale=self.layer_scale,
                drop_path=self.drop_path * index / max(self.depth - 1, 1),
                updates=self.updates,
                dtype=self.dtype,
                name=f"blocks_{index}",
            )(x, train)
            if index in self.taps:
                raw.append(x)
        norm = transformer.LayerNorm(dtype=self.dtype, name="norm")
        normed = tuple(map(norm, raw))
        tokens = Tokens(tuple(raw), normed, grid, self.prefix, has_class=self.class_token)
        last = norm(x)[:, tokens.prefix :].reshape(x.shape[0], *grid, self.width)
        return Pyramid({self.patch: last}, tokens=tokens)

    def _embedded(self, image: jax.Array) -> tuple[jax.Array, tuple[int, int]]:
        """[B, prefix + h·w, width]: class token, registers, patches row by row; (h, w)."""
        batch, height, width, _ = image.shape
        if height % self.patch or width % self.patch:
            raise UsageError(
                f"An image of {height}×{width} pixels cannot be cut into patches of {self.patch}×"
                f"{self.patch}; expected sides that are multiples of {self.patch}. Training images "
                "get their size from config.data.augment.crop, all others are padded by `System`."
            )
        x = layers.Conv(
            self.width,
            self.patch,
            stride=self.patch,
            padding=(0, 0),
            use_bias=True,
            dtype=self.dtype,
            name="patch_embed",
        )(image)
        grid = x.shape[1:3]
        x = x.reshape(batch, -1, self.width)
        draw = initializers.normal(0.02)
        table = self.param(
            "pos_embed", draw, (1, 1 + math.prod(self.table), self.width), jnp.float32
        )
        patches = positions.resample(table[0, 1:], self.table, grid, self.rule)
        first = []
        if self.class_token:
            token = self.param("cls_token", draw, (1, 1, self.width), jnp.float32)
            first.append(jnp.broadcast_to(token + table[:, :1], (batch, 1, self.width)))
        if self.layer_scale is not None:
            # See `unread`; the files have it.
            self.param("mask_token", initializers.zeros, (1, self.width), jnp.float32)
        if self.registers:
            shape = (1, self.registers, self.width)
            registers = self.param("register_tokens", draw, shape, jnp.float32)
            first.append(jnp.broadcast_to(registers, (batch, *shape[1:])))
        first = [token.astype(self.dtype) for token in first]
        x = jnp.concatenate([*first, broadcast.add(x, patches)], axis=1)
        return x, grid
