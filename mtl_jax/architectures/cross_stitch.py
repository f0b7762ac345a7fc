"""Cross-stitch networks (Misra et al. 2016): after every stage, sums of all tasks' features.

A network for each task, which is meant to have been trained alone (`single_task`). After stages 1
to 4, of each channel c, x_i becomes Σ_j α[i, j, c]·x_j. The factors start at one value for a task's
own features and another one for the others': 0.9 and 0.1 on NYUD, 0.8 and 0.05 on PASCAL-Context in
the survey of Vandenhende et al. (2021).
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax._options import Option, number
from mtl_jax.architectures import _side_by_side
from mtl_jax.layers import broadcast

OPTIONS = {
    **_side_by_side.OPTIONS,
    "own": Option(0.9, "what α starts at for a task's own features", number(least=-1e6, most=1e6)),
    "other": Option(0.1, "what α starts at for another's", number(least=-1e6, most=1e6)),
}


def build(options, channels: dict[str, int]) -> nn.Module:
    """The network of these `OPTIONS`."""
    parts = _side_by_side.parts(options, channels)
    return CrossStitch(**parts, own=options.own, other=options.other)


class CrossStitch(_side_by_side.SideBySide):
    """Networks side by side with a `Stitch` after stages 1 to 4."""

    own: float = 0.9
    other: float = 0.1

    def exchange(self, number, maps, *, train):
        """See `SideBySide.exchange`."""
        if number == 0:
            return maps
        stitch = Stitch(self.own, self.other, self.branch.dtype, name=f"stitch{number}")
        return dict(zip(maps, stitch(list(maps.values())), strict=True))


class Stitch(nn.Module):
    """T maps [B, h, w, c] ─► T sums of them, with a factor for each pair of tasks and channel.

    Attributes:
      own, other: what the factors start at.
      dtype: compute type.
    """

    own: float
    other: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: list[jax.Array]) -> list[jax.Array]:
        count, width = len(maps), maps[0].shape[-1]

        def start(key, shape, dtype):
            del key
            pairs = self.other + (self.own - self.other) * jnp.eye(count)
            return jnp.broadcast_to(pairs[..., None], shape).astype(dtype)

        alpha = self.param("alpha", start, (count, count, width), jnp.float32)
        return [
            sum(broadcast.multiply(x, a) for a, x in zip(row, maps, strict=True)) for row in alpha
        ]
