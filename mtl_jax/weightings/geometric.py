"""Geometric loss strategy (Chennupati et al., CVPR Workshops 2019): total = (Π L_k)^(1/n).

Its gradient is that of weights total / (n L_k), so every task descends at the same relative rate
whatever the scale of its loss.
"""

import dataclasses

import jax
import jax.numpy as jnp

from mtl_jax.weightings._base import Weighting


@dataclasses.dataclass(frozen=True)
class Geometric(Weighting):
    """Geometric mean of the n labelled tasks' losses.

    A labelled loss of exactly 0 is left out too: it has no gradient to give, where that of the mean
    is infinite. A negative loss has no geometric mean: the total is NaN.

    >>> method = Geometric(("semseg", "depth"))
    >>> losses, labelled = jnp.array([4.0, 0.25]), jnp.array([True, True])
    >>> total, weights = method.total({}, {}, losses, labelled, None)
    >>> print(f"{total:.2f} {weights}")
    1.00 [0.125 2.   ]
    """

    def total(self, params, state, losses, labelled, key):
        """See `Weighting.total`. The weights are the derivatives by the losses."""
        del params, state, key
        counts = labelled & (losses != 0)
        count = jnp.maximum(jnp.sum(counts), 1)
        # Where nothing counts the logarithm's argument is a constant, so that no gradient is 0 · ∞.
        logs = jnp.log(jnp.where(counts, losses, 1.0))
        mean = jnp.where(jnp.any(counts), jnp.exp(jnp.sum(logs) / count), 0.0)
        weights = jnp.where(counts, mean / (count * jnp.where(counts, losses, 1.0)), 0.0)
        return mean, jax.lax.stop_gradient(weights)
