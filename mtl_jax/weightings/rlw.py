"""Random loss weighting (Lin, Ye, Zhang, Tsang, TMLR 2022): softmax of standard normal draws.

The weights are drawn anew at each step and sum to 1. A litmus test: a method that claims to balance
tasks should do better than this.
"""

import dataclasses

import jax
import jax.numpy as jnp

from mtl_jax.weightings._base import Weighting


@dataclasses.dataclass(frozen=True)
class RandomLossWeighting(Weighting):
    """Random weights, which the tasks that have a label in the batch share among them.

    >>> method, key = RandomLossWeighting(("semseg", "depth")), jax.random.key(0)
    >>> total, weights = method.total({}, {}, jnp.ones(2), jnp.array([True, True]), key)
    >>> print(f"{total:.3f} {weights.sum():.3f}")
    1.000 1.000
    """

    linear = True

    def draw(self, key: jax.Array) -> jax.Array:
        """[K] standard normal draws."""
        return jax.random.normal(key, (len(self.tasks),), jnp.float32)

    def total(self, params, state, losses, labelled, key):
        """See `Weighting.total`."""
        del params, state
        draws = jnp.where(labelled, jnp.exp(self.draw(key)), 0.0)
        total = jnp.sum(draws)
        weights = draws / jnp.where(total > 0, total, 1.0)
        return sum(weights * losses), weights
