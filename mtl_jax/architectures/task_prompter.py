"""TaskPrompter (Ye and Xu 2023): the tasks' prompts go through a transformer and select from it.

Published beside a ViT without a class token, of one image size. At four layers each task's features
are the patches' twice: times what its prompt asks for each patch, head by head, and times what it
asks for each channel.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, encoders, layers
from mtl_jax._options import Option, truth, whole
from mtl_jax.architectures import Predictions, _prompted_vit
from mtl_jax.errors import ConfigError
from mtl_jax.heads import gates, mlore, task_prompter

OPTIONS = {
    "encoder": dataclasses.replace(encoders.PART, default="vit", only=("vit",)),
    "selected": Option(300, "channels of each of a level's two selections", whole(least=1)),
    "width": Option(350, "of a task's features", whole(least=1)),
    "windows": Option(1, "s: channels are selected within s × s windows", whole(least=1)),
    "reweighting": Option(True, "a task's features are mixed with the others'", truth),
}

# What the authors' files call our layers, see `mtl_jax.weights.released`.
RELEASED = {
    "encoder": "backbone",
    "encoder/patch_embed": "backbone.patch_embed.proj",
    "encoder/blocks_{n}/{rest}": "backbone.blocks.{n}.{rest}",
    "encoder/norm": "backbone.norm",
    "select{n}_{task}/spatial": "backbone.fea_decode_spa.{n}.{task}.0",
    "select{n}_{task}/channel": "backbone.fea_decode_chan.{n}.{task}.0",
    "select{n}_{task}/join": "backbone.fea_fuse.{n}.{task}.0",
    "select{n}_{task}/conv": "backbone.fea_fuse.{n}.{task}.1",
    "select{n}_{task}/bn": "backbone.fea_fuse.{n}.{task}.2",
    "select{n}_{task}/leave": "backbone.fea_fuse.{n}.{task}.4",
    "mix{n}_{task}/hidden": "backbone.ctr_attn_conv.{n}.{task}.0",
    "mix{n}_{task}/weight": "backbone.ctr_attn_conv.{n}.{task}.2",
    "head_{task}/conv": "heads.{task}.mt_proj.0",
    "head_{task}/bn": "heads.{task}.mt_proj.1",
    "head_{task}/predict": "heads.{task}.linear_pred",
}


def build(options, channels: dict[str, int]) -> nn.Module:
    """The network of these `OPTIONS`.

    Raises:
      ConfigError: windows that do not divide the encoder's patches, or an encoder with what a
        prompted one does not have.
    """
    dtype = _options.dtype(options.dtype)
    plain = encoders.build(options.encoder, dtype=dtype)
    if plain.updates.rank or plain.layer_scale is not None or plain.registers:
        raise ConfigError(
            "config.model.encoder has low-rank updates, registers or factors of its layers, which "
            "the encoder of 'task_prompter' cannot have; expected variant='augreg', lora_rank=0."
        )
    if any(side % options.windows for side in plain.table):
        raise ConfigError(
            f"config.model.windows={options.windows}; expected a divisor of both sides of the "
            f"encoder's table of positions, {plain.table}."
        )
    kept = ("width", "depth", "heads", "patch", "table", "rule", "taps", "drop_path", "remat")
    encoder = _prompted_vit.PromptedViT(
        **{name: getattr(plain, name) for name in kept},
        class_token=False,
        prompts=len(channels),
        windows=options.windows,
        dtype=dtype,
    )
    return TaskPrompter(
        encoder=encoder,
        channels=channels,
        selected=options.selected,
        width=options.width,
        reweighting=options.reweighting,
        dtype=dtype,
    )


class TaskPrompter(nn.Module):
    """Prompted transformer ─► per level and task: selections ─► features ─► sum ─► head.

    Attributes:
      encoder: whose prompts are the tasks'.
      channels: {task: outputs}.
      selected, width, reweighting: see `OPTIONS`.
      dtype: compute type.
    """

    encoder: _prompted_vit.PromptedViT
    channels: dict[str, int]
    selected: int
    width: int
    reweighting: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Predictions:
        """[B, H, W, 3] of the encoder's `image_size` ─► {task: [B, H, W, C]} float32."""
        total = dict.fromkeys(self.channels, 0.0)
        for index, level in enumerate(self.encoder(image, train=train)):
            features = {
                task: task_prompter.Selection(
                    self.selected, self.width, self.dtype, name=f"select{index}_{task}"
                )(
                    level.features,
                    level.spatial[:, :, position],
                    level.channel[:, position],
                    train=train,
                )
                for position, task in enumerate(self.channels)
            }
            if self.reweighting:
                features = self._mixed(index, level, features)
            total = {task: total[task] + x for task, x in features.items()}
        final = {}
        for task, outputs in self.channels.items():
            x = mlore.Head(outputs, self.dtype, name=f"head_{task}")(total[task], train=train)
            final[task] = layers.resize_bilinear(x, image.shape[1:3])
        return Predictions(final=final)

    def _mixed(self, index: int, level: _prompted_vit.Level, features: dict) -> dict:
        """Each task's features as a sum of all tasks', weighted by what its prompt asks for."""
        mixed = {}
        for position, task in enumerate(self.channels):
            asked = jnp.moveaxis(level.between[:, :, position], 1, -1)  # [B, T, heads]
            mlp = task_prompter.Affinity(name=f"mix{index}_{task}")
            mixed[task] = gates.mixed(list(features.values()), mlp(asked))
        return mixed
