"""What tasks hand to each other between a first and a final prediction.

PAD-Net (Xu et al. 2018) and MTI-Net (Vandenhende et al. 2020) have it in common.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import layers
from mtl_jax._options import Option, each, text
from mtl_jax.errors import ConfigError
from mtl_jax.heads import attention
from mtl_jax.layers.residual import Residual

AUXILIARY = Option(
    (), "tasks that are predicted once, and help the others; e.g. ('normals',)", each(text)
)
GROUPS = ("released", "tasks")


def distil(
    features: dict[str, jax.Array], targets: Sequence[str], prefix: str, dtype: DTypeLike
) -> dict[str, jax.Array]:
    """f_t + Σ_{a≠t} conv(f_a) · σ(conv(f_a)), with convolutions of its own for every ordered pair.

    To be called within a compact module, whose submodules <prefix>_<a>_to_<t> it makes.

    Args:
      features: {task: [B, h, w, C]} of all that hand something over.
      targets: those that receive.
      prefix: of the submodules' names.
      dtype: compute type.
    """
    return {
        target: features[target]
        + sum(
            attention.SelfAttention("pytorch", dtype, name=f"{prefix}_{source}_to_{target}")(x)
            for source, x in features.items()
            if source != target
        )
        for target in targets
    }


def final_tasks(channels: Mapping[str, int], auxiliary: tuple[str, ...]) -> tuple[str, ...]:
    """The tasks that are refined: all but `auxiliary`.

    Raises:
      ConfigError: `auxiliary` names what is no task, or every task.
    """
    unknown = [task for task in auxiliary if task not in channels]
    final = tuple(task for task in channels if task not in auxiliary)
    if unknown or not final:
        raise ConfigError(
            f"config.model.auxiliary={auxiliary}; expected some of the tasks, not all: "
            f"{', '.join(channels)}."
        )
    return final


def at_size(
    final: Mapping[str, jax.Array], first: Sequence[Mapping[str, jax.Array]], size: Sequence[int]
) -> tuple[dict[str, jax.Array], tuple[dict[str, jax.Array], ...]]:
    """The final and the auxiliary predictions of all tasks, at the image's size.

    Args:
      final: {task: [B, h, w, C]} of the tasks that are predicted a second time.
      first: {task: [B, h, w, C]} of all tasks, the finest scale first. Of a task that is not in
        `final` the first of these is the final one.
      size: (H, W).
    """
    all_final = {task: final.get(task, x) for task, x in first[0].items()}
    finest = {task: x for task, x in first[0].items() if task in final}

    def resized(maps):
        return {task: layers.resize_bilinear(x, size) for task, x in maps.items()}

    return resized(all_final), tuple(map(resized, (finest, *first[1:])))


class Blocks(nn.Module):
    """Two residual blocks, the first of which may change the width."""

    features: int
    bottleneck: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        for index in (0, 1):
            block = Residual(
                self.features, bottleneck=self.bottleneck, dtype=self.dtype, name=f"block{index}"
            )
            x = block(x, train=train)
        return x


class Propagation(nn.Module):
    """What one scale of MTI-Net tells the next finer one: [B, h, w, c] of every task, changed.

    All tasks' features together are weighted, channel by channel, and summed up to c channels,
    which each task adds to its own through a squeeze-and-excitation.

    Attributes:
      groups: 'released' normalises the weights over groups of T neighbouring channels, as the
        authors' code does although the channels lie task after task; 'tasks' over the tasks, as
        the paper has it. They are different networks.
      se_reduction: of the squeeze-and-excitations.
      dtype: compute type.
    """

    groups: str = "released"
    se_reduction: int = 16
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, features: dict[str, jax.Array], *, train: bool) -> dict[str, jax.Array]:
        x = jnp.concatenate(list(features.values()), axis=-1)
        width, count = x.shape[-1], len(features)
        hidden = Blocks(width // 4, dtype=self.dtype, name="hidden")(x, train=train)
        weights = layers.Conv(width, 1, use_bias=True, dtype=self.dtype, name="weights")(hidden)
        weights = weights.astype(jnp.float32)
        if self.groups == "released":
            weights = jax.nn.softmax(weights.reshape(*x.shape[:3], -1, count), axis=-1)
        else:
            weights = jax.nn.softmax(weights.reshape(*x.shape[:3], count, -1), axis=-2)
        mixed = weights.reshape(x.shape).astype(self.dtype) * x
        shared = Residual(width // count, dtype=self.dtype, name="reduce")(mixed, train=train)
        told = {}
        for task, own in features.items():
            excite = layers.SqueezeExcitation(self.se_reduction, self.dtype, name=f"se_{task}")
            told[task] = own + excite(shared)
        return told
