"""Random loss weighting (Lin, Ye, Zhang, Tsang, TMLR 2022): softmax of standard normal draws.

The weights are drawn anew at each step and sum to 1. A litmus test: a method that claims to balance
tasks should do better than this.
"""

import dataclasses

import jax
import jax.numpy as jnp

from mtl_jax import weightings

OPTIONS = {}


@dataclasses.dataclass(frozen=True)
class RandomLossWeighting(weightings.Weighting):
    """Random weights, which the tasks that have a label in the batch share among them."""

    def combine(self, params, state, losses, labelled, key):
        """See `Weighting.combine`."""
        del params, state
        draws = jnp.exp(jax.random.normal(key, (len(self.tasks),), jnp.float32))
        draws = jnp.where(jnp.stack([labelled[task] for task in self.tasks]), draws, 0.0)
        total = jnp.sum(draws)
        shares = draws / jnp.where(total > 0, total, 1.0)
        weights = dict(zip(self.tasks, shares, strict=True))
        return sum(weights[task] * losses[task] for task in self.tasks), weights


def build(config, tasks) -> RandomLossWeighting:
    """Builds the weighting; it has no options."""
    del config
    return RandomLossWeighting(tasks=tuple(tasks))
