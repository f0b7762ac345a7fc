"""GradDrop, gradient sign dropout (Chen et al., NeurIPS 2020, arXiv 2010.06808).

At each coordinate the gradients of one sign are dropped: with P = ½ (1 + Σ g / Σ |g|) and a uniform
draw u, the positive ones are kept if P > u, and the negative ones otherwise.
"""

import dataclasses

import jax
import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.weightings._base import GradientWeighting, ascends


@dataclasses.dataclass(frozen=True)
class GradDrop(GradientWeighting):
    """One sign at each coordinate. There are no weights to log.

    >>> method = GradDrop(("semseg", "depth"))
    >>> gradients = [jnp.array([-4.0, 1.0, 1.0]), jnp.array([6.0, 1.0, 1.0])]
    >>> params, state = method.init(jax.random.key(0), like=gradients[0])
    >>> losses, labelled, key = jnp.ones(2), jnp.array([True, True]), jax.random.key(0)
    >>> gradient, *_ = method.combine(params, state, gradients, losses, labelled, key)
    >>> float(gradient[0]) in (-4.0, 6.0), float(gradient[1])
    (True, 2.0)

    Attributes:
      representation: drop signs of the gradients at the features that the tasks' own modules are
        given, as the paper does, but of each example by itself: the paper decides once for the
        batch, by the sum of gradients times the features' signs.
      leak: what is kept of each gradient whatever its sign.
      reduce: sum, or mean over the labelled tasks.
    """

    representation: bool = _options.option(
        False,
        "by gradients at the features where the shared part ends; one pass through it",
        _options.truth,
    )
    leak: float = _options.option(
        0.0, "share of a gradient that is never dropped", _options.number(least=0, most=1)
    )
    reduce: str = _options.option(
        "sum", "sum or mean of what is left", _options.one_of("sum", "mean")
    )

    def init(self, key, like=None):
        """See `Weighting.init`. The state counts the ascents."""
        del key, like
        return {}, {"ascents": jnp.zeros((), jnp.int32)}

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Uniform draws in (0, 1), one for each coordinate."""
        return jax.random.uniform(key, shape, jnp.float32)

    def combine(self, params, state, gradients, losses, labelled, key):
        """See `GradientWeighting.combine`."""
        del params, losses
        leaves = [jax.tree.leaves(tree) for tree in gradients]
        found = []
        for index, each in enumerate(zip(*leaves, strict=True)):
            stacked = jnp.stack([leaf.astype(jnp.float32) for leaf in each])
            size = jnp.sum(jnp.abs(stacked), axis=0)
            purity = 0.5 * (1 + jnp.sum(stacked, axis=0) / jnp.where(size != 0, size, 1.0))
            positive = purity > self.draw(jax.random.fold_in(key, index), each[0].shape)
            # NaN has neither sign: it is not dropped, but seen.
            dropped = jnp.where(positive, stacked < 0, stacked > 0)
            kept = jnp.where(dropped, self.leak * stacked, stacked)
            found.append(jnp.sum(kept, axis=0).astype(each[0].dtype))
        if self.reduce == "mean":
            count = jnp.maximum(jnp.sum(labelled), 1)
            found = [leaf / count for leaf in found]
        gradient = jax.tree.unflatten(jax.tree.structure(gradients[0]), found)
        uphill = ascends(gradients, gradient, labelled)
        return gradient, None, {}, {"ascents": state["ascents"] + uphill}

    def diagnostics(self, state):
        """How many steps led uphill for a task."""
        return state
