"""NDDR-CNN (Gao et al. 2019): after the stem and every stage, all tasks' features are reduced.

"Neural discriminative dimensionality reduction": a network for each task, which is meant to have
been trained alone (`single_task`). After the stem's max-pool and after stages 1 to 4 each task gets
a 1×1 convolution of all tasks' features, with BatchNorm and ReLU. It starts as a multiple of the
task's own features and another one of the others': 0.9 and 0.1 on NYUD, 0.8 and 0.05 on
PASCAL-Context in the survey of Vandenhende et al. (2021).
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import layers
from mtl_jax._options import Option, number
from mtl_jax.architectures import _side_by_side

_FACTOR = number(least=-1e6, most=1e6)
OPTIONS = {
    **_side_by_side.OPTIONS,
    "own": Option(0.9, "what a task's own features start with", _FACTOR),
    "other": Option(0.1, "what another's start with", _FACTOR),
}


def build(options, channels: dict[str, int]) -> nn.Module:
    """The network of these `OPTIONS`."""
    return NDDR(**_side_by_side.parts(options, channels), own=options.own, other=options.other)


class NDDR(_side_by_side.SideBySide):
    """Networks side by side with a `Reduction` after the stem and stages 1 to 4."""

    own: float = 0.9
    other: float = 0.1

    def exchange(self, number, maps, *, train):
        """See `SideBySide.exchange`."""
        reduction = Reduction(self.own, self.other, self.branch.dtype, name=f"reduction{number}")
        return reduction(maps, train=train)


class Reduction(nn.Module):
    """{task: [B, h, w, c]} ─► the same: of all maps side by side, per task 1×1, BatchNorm, ReLU.

    Attributes:
      own, other: diagonals of the convolutions at the start.
      dtype: compute type.
    """

    own: float
    other: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: dict[str, jax.Array], *, train: bool) -> dict[str, jax.Array]:
        together = jnp.concatenate(list(maps.values()), axis=-1)
        return {
            task: Mix(self.own, self.other, position, self.dtype, name=task)(
                together, maps[task].shape[-1], train=train
            )
            for position, task in enumerate(maps)
        }


class Mix(nn.Module):
    """What one task makes of all tasks' features; `position` says which of them are its own."""

    own: float
    other: float
    position: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, width: int, *, train: bool) -> jax.Array:
        count = x.shape[-1] // width

        def start(key, shape, dtype):
            del key
            factors = jnp.full(count, self.other).at[self.position].set(self.own)
            return jnp.kron(factors[:, None], jnp.eye(width)).reshape(shape).astype(dtype)

        kernel = self.param("kernel", start, (x.shape[-1], width), jnp.float32)
        x = x.astype(self.dtype) @ kernel.astype(self.dtype)
        # The momentum of the authors' code.
        norm = layers.BatchNorm(momentum=0.95, dtype=self.dtype, name="bn")
        return nn.relu(norm(x, train=train))
