"""Scale-invariant sum (the baseline SI of Navon et al., ICML 2022): total = Σ log L.

Its gradient is that of the weights 1 / L, so the units of the losses do not matter.
"""

import dataclasses

import jax
import jax.numpy as jnp

from mtl_jax.weightings._base import Weighting


@dataclasses.dataclass(frozen=True)
class Logarithms(Weighting):
    """The sum of the labelled tasks' log losses.

    A labelled loss of exactly 0 is left out, as its gradient would be infinite; of a negative one
    the logarithm is NaN, and so is the total.

    >>> losses, labelled = jnp.array([1.2, 3.0, 0.4]), jnp.array([True, True, True])
    >>> print(Logarithms(("a", "b", "c")).total({}, {}, losses, labelled, None)[1])
    [0.8333 0.3333 2.5]
    """

    def total(self, params, state, losses, labelled, key):
        """See `Weighting.total`."""
        del params, state, key
        return log_sum(losses, labelled)


def log_sum(losses: jax.Array, labelled: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Σ log L over the labelled losses that are not 0, and its derivatives [K]."""
    counts = labelled & (losses != 0)
    known = jnp.where(counts, losses, 1.0)
    weights = jnp.where(counts, 1 / jnp.where(known < 0, jnp.nan, known), 0.0)
    return jnp.sum(jnp.log(known)), jax.lax.stop_gradient(weights)
