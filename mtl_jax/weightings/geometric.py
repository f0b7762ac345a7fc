"""Geometric loss strategy (Chennupati et al., CVPR Workshops 2019): total = (Π L_k)^(1/n).

Its gradient is that of weights total / (n L_k), so every task descends at the same relative rate
whatever the scale of its loss.
"""

import dataclasses

import jax
import jax.numpy as jnp

from mtl_jax import weightings

OPTIONS = {}


@dataclasses.dataclass(frozen=True)
class Geometric(weightings.Weighting):
    """Geometric mean of the n labelled tasks' losses.

    A labelled loss of exactly 0 is left out too: it has no gradient to give, where that of the mean
    is infinite. A negative loss has no geometric mean: the total is NaN.
    """

    def combine(self, params, state, losses, labelled, key):
        """See `Weighting.combine`. The weights are the derivatives by the losses."""
        del params, state, key
        values = jnp.stack([losses[task] for task in self.tasks])
        counts = jnp.stack([labelled[task] for task in self.tasks]) & (values != 0)
        count = jnp.maximum(jnp.sum(counts), 1)
        # Where nothing counts the logarithm's argument is a constant, so that no gradient is 0 · ∞.
        logs = jnp.log(jnp.where(counts, values, 1.0))
        mean = jnp.where(jnp.any(counts), jnp.exp(jnp.sum(logs) / count), 0.0)
        weights = jnp.where(counts, mean / (count * jnp.where(counts, values, 1.0)), 0.0)
        return mean, dict(zip(self.tasks, jax.lax.stop_gradient(weights), strict=True))


def build(config, tasks) -> Geometric:
    """Builds the weighting; it has no options."""
    del config
    return Geometric(tasks=tuple(tasks))
