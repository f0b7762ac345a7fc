"""Soft optimal uncertainty weighting (Kirchdorfer et al., GCPR 2024, arXiv 2408.07985).

w = softmax(1 / (T L)) of the labelled tasks, a constant for the gradient. 1 / L is what
`uncertainty` would learn if it were always at its optimum.
"""

import dataclasses

import jax
import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.weightings._base import Weighting, softmax

LARGEST = 1e6  # of 1 / L: a loss that goes to 0 takes all the weight, and stays a number


@dataclasses.dataclass(frozen=True)
class SoftOptimalUncertainty(Weighting):
    """Weights by the softmax of the inverse losses.

    >>> method = SoftOptimalUncertainty(("semseg", "depth"), temperature=1.0)
    >>> losses, labelled = jnp.array([1.2, 0.4]), jnp.array([True, True])
    >>> print(method.total({}, {}, losses, labelled, None)[1])
    [0.1589 0.8411]

    Attributes:
      temperature: T; the larger, the more even. The paper tunes it between 5 and 100.
    """

    temperature: float = _options.option(
        10.0, "the larger, the more even; to be tuned", _options.number(least=1e-3)
    )

    def total(self, params, state, losses, labelled, key):
        """See `Weighting.total`."""
        del params, state, key
        tiny = jnp.where(losses > 0, losses, 1.0)
        inverse = jnp.where(losses > 0, jnp.minimum(1 / tiny, LARGEST), LARGEST)
        # A loss that is no number has no inverse either.
        logits = jnp.where(jnp.isnan(losses), losses, inverse) / self.temperature
        weights = jax.lax.stop_gradient(softmax(logits, labelled))
        return sum(weights * losses), weights
