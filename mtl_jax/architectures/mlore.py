"""MLoRE (Yang et al. 2024): mixtures of low-rank experts between a transformer and its tasks.

Published beside a ViT without a class token, of one image size, whose layers are tapped as for
InvPT. Each of four levels goes through two blocks; in each every task weights the same experts, by
a router of its own, and adds what a plain convolution for all tasks and one of its own say.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, encoders, layers
from mtl_jax._options import Option, each, number, truth, whole
from mtl_jax.architectures import Predictions
from mtl_jax.errors import ConfigError
from mtl_jax.heads import mlore
from mtl_jax.layers import experts

OPTIONS = {
    "encoder": dataclasses.replace(encoders.PART, default="vit", only=("vit",)),
    "width": Option(452, "of everything after the encoder; divisible by 4", whole(least=4)),
    "ranks": Option(tuple(range(16, 129, 8)), "of the experts", each(whole(least=1))),
    "own_rank": Option(72, "of each task's own convolutions", whole(least=1)),
    "kept": Option(9, "experts that a task keeps for an image", whole(least=1)),
    "before_softmax": Option(
        False, "the others are left out before the softmax (NYUD), or set to 0 after it", truth
    ),
    "noise": Option(True, "on the routers' scores in training", truth),
    "balance": Option(
        3e-4, "factor of (deviation / mean)² of the gates in the loss", number(least=0)
    ),
}
BLOCKS = (1, 2)

# What the authors' files call our layers, see `mtl_jax.weights.released`.
_BLOCK = "backbone.MLoRE_{b}.{n}"
_ROUTER = f"{_BLOCK}.router_1.{{task}}"
RELEASED = {
    "encoder": "backbone",
    "encoder/patch_embed": "backbone.patch_embed.proj",
    "encoder/blocks_{n}/{rest}": "backbone.blocks.{n}.{rest}",
    "encoder/norm": "backbone.norm",
    "enter{n}": "backbone.fea_fuse.{n}",
    "experts{b}{n}/down{m}": f"{_BLOCK}.lora_list_1.{{m}}.W",
    "experts{b}{n}/up{m}": f"{_BLOCK}.lora_list_1.{{m}}.M",
    "plain{b}{n}": f"{_BLOCK}.share_conv",
    "side{b}{n}_{task}/enter": f"{_BLOCK}.conv1.{{task}}",
    "side{b}{n}_{task}/leave": f"{_BLOCK}.conv3.{{task}}",
    "side{b}{n}_{task}/own_down": f"{_BLOCK}.conv2.{{task}}.W",
    "side{b}{n}_{task}/own_up": f"{_BLOCK}.conv2.{{task}}.M",
    "side{b}{n}_{task}/mixture_bn": f"{_BLOCK}.bn_all.{{task}}",
    "side{b}{n}_{task}/bn": f"{_BLOCK}.bn.{{task}}",
    "side{b}{n}_{task}/router/narrow": f"{_ROUTER}.0.conv1",
    "side{b}{n}_{task}/router/narrow_norm": f"{_ROUTER}.0.ln",
    "side{b}{n}_{task}/router/mean": f"{_ROUTER}.0.conv3",
    "side{b}{n}_{task}/router/places": f"{_ROUTER}.0.convsp",
    "side{b}{n}_{task}/router/places_norm": f"{_ROUTER}.0.ln_sp",
    "side{b}{n}_{task}/router/weighted": f"{_ROUTER}.0.conv2",
    "side{b}{n}_{task}/router/score": f"{_ROUTER}.1",
    "fuse_{task}/reduce": "backbone.task_mask.{task}.0",
    "fuse_{task}/bn": "backbone.task_mask.{task}.1",
    "fuse_{task}/score": "backbone.task_mask.{task}.3",
    "head_{task}/conv": "heads.{task}.mt_proj.0",
    "head_{task}/bn": "heads.{task}.mt_proj.1",
    "head_{task}/predict": "heads.{task}.linear_pred",
}
# In ViT-B's file besides, and read by nothing.
UNUSED = ("backbone.q_fuse.", "backbone.classify_route_", "aux_heads.")


def build(options, channels: dict[str, int]) -> nn.Module:
    """The network of these `OPTIONS`.

    Raises:
      ConfigError: the width is not divisible by 4, more experts are kept than there are, or a
        single one is to be balanced.
    """
    if options.width % 4 or options.kept > len(options.ranks):
        raise ConfigError(
            f"config.model.width={options.width} and kept={options.kept}; expected a width that "
            f"is divisible by 4 and at most {len(options.ranks)} experts, one for each of ranks."
        )
    if options.balance and len(options.ranks) == 1:
        raise ConfigError(
            f"config.model.balance={options.balance} wants several experts used alike, and config."
            f"model.ranks={options.ranks} is one; expected balance=0, or more ranks."
        )
    dtype = _options.dtype(options.dtype)
    return MLoRE(
        encoder=encoders.build(options.encoder, dtype=dtype),
        channels=channels,
        width=options.width,
        ranks=options.ranks,
        side=mlore.Side(
            options.own_rank, options.kept, options.before_softmax, options.noise, dtype
        ),
        balance=options.balance,
        dtype=dtype,
    )


class MLoRE(nn.Module):
    """Four layers of tokens ─► per level two blocks of experts ─► per task: fusion ─► head.

    Attributes:
      encoder: a vision transformer.
      channels: {task: outputs}.
      width: of everything after the encoder.
      ranks: of the experts.
      side: what a task has of its own in a block; it is copied.
      balance: factor of the loss that wants all experts used.
      dtype: compute type.
    """

    encoder: nn.Module
    channels: dict[str, int]
    width: int
    ranks: tuple[int, ...]
    side: mlore.Side
    balance: float = 3e-4
    dtype: DTypeLike = jnp.float32

    @property
    def penalties(self) -> tuple[str, ...]:
        """What `Predictions.penalties` has."""
        return ("balance",) if self.balance else ()

    @property
    def image_size(self) -> tuple[int, int]:
        """Routers have a weight for every patch: those of the encoder's table of positions."""
        height, width = self.encoder.table
        return height * self.encoder.patch, width * self.encoder.patch

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Predictions:
        """[B, H, W, 3] of `image_size` ─► {task: [B, H, W, C]} float32."""
        pyramid = self.encoder(image, train=train)
        tokens = pyramid.need_tokens(by="The architecture 'mlore'")
        *earlier, _ = tokens.maps(normed=False)
        levels = [*earlier, tokens.maps(normed=True)[-1]]
        found = {task: [] for task in self.channels}
        unevenness = 0.0
        for level, x in enumerate(levels):
            x = mlore.conv(self.width, 1, self.dtype, f"enter{level}")(x)
            maps = dict.fromkeys(self.channels, x)
            for block in BLOCKS:
                maps, gates = self._block(f"{block}{level}", maps, train)
                usage = jnp.stack(gates).mean((0, 1))
                # (deviation / mean)², without a root, whose gradient at 0 is none.
                unevenness += jnp.var(usage, ddof=1) / jnp.square(jnp.mean(usage))
            for task, y in maps.items():
                found[task].append(y)
        final = {}
        for task, outputs in self.channels.items():
            x = mlore.Fusion(self.dtype, name=f"fuse_{task}")(found[task], train=train)
            x = mlore.Head(outputs, self.dtype, name=f"head_{task}")(x, train=train)
            final[task] = layers.resize_bilinear(x, image.shape[1:3])
        added = dict.fromkeys(self.penalties, self.balance * unevenness)
        return Predictions(final, penalties=added)

    def _block(self, number: str, maps, train: bool) -> tuple[dict, list[jax.Array]]:
        """Every task's map through the block, and its gates, [B, E] for each task."""
        shared = (
            experts.Experts(self.ranks, self.dtype, name=f"experts{number}"),
            mlore.conv(self.width, 3, self.dtype, f"plain{number}"),
        )
        out, gates = {}, []
        for task, x in maps.items():
            side = self.side.clone(name=f"side{number}_{task}", parent=self)
            out[task], of_task = side(x, shared, train=train)
            gates.append(of_task)
        return out, gates
