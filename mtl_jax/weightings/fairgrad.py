"""FairGrad (Ban, Ji, ICML 2024, arXiv 2402.15638): α-fair shares of the descent.

M w = w^(−1/α): α = 1 is Nash-MTL's proportional fairness, larger α helps the task that gains least.
Unless α = 1, the units of the losses matter: w grows like d^(−2α/(1+α)).
"""

import dataclasses

import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.weightings import _solvers
from mtl_jax.weightings._gram import GramWeighting, Weights


@dataclasses.dataclass(frozen=True)
class FairGrad(GramWeighting):
    """α-fair weights.

    >>> method = FairGrad(("semseg", "depth"))
    >>> gram = jnp.array([[18.0, -22.0], [-22.0, 38.0]])  # of (−4, 1, 1) and (6, 1, 1)
    >>> params, state = method.init(jax.random.key(0))
    >>> losses, labelled, key = jnp.ones(2), jnp.array([True, True]), jax.random.key(1)
    >>> weights, _, state = method.solve(params, state, gram, losses, labelled, key)
    >>> print(weights)
    [0.4714 0.3195]
    """

    alpha: float = _options.option(
        2.0,
        "the larger, the more the task that gains least counts",
        _options.number(least=0.05, most=50),
    )

    def weigh(self, params, state, gram, losses, labelled, key):
        """See `GramWeighting.weigh`."""
        del params, labelled, key
        return Weights(*_solvers.power(gram, jnp.ones_like(losses), self.alpha)), {}, state
