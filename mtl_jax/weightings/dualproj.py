"""DualProj, the mean gradient projected on the dual cone (Lopez-Paz, Ranzato, NeurIPS 2017, for
continual learning; Quinton, Rey, arXiv 2406.16232).

min vᵀMv, v ≥ 1 / K.
"""

import dataclasses

import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.weightings import _solvers
from mtl_jax.weightings._gram import GramWeighting, Weights


@dataclasses.dataclass(frozen=True)
class DualProj(GramWeighting):
    """The mean gradient, projected so that no task ascends.

    >>> method = DualProj(("semseg", "depth"))
    >>> gram = jnp.array([[18.0, -22.0], [-22.0, 38.0]])  # of (−4, 1, 1) and (6, 1, 1)
    >>> params, state = method.init(jax.random.key(0))
    >>> losses, labelled, key = jnp.ones(2), jnp.array([True, True]), jax.random.key(1)
    >>> weights, _, state = method.solve(params, state, gram, losses, labelled, key)
    >>> print(weights)
    [0.6111 0.5]
    """

    regularization: float = _options.option(
        0.0, "added to M's diagonal, as a share of its trace", _options.number(least=0, most=1)
    )

    def weigh(self, params, state, gram, losses, labelled, key):
        """See `GramWeighting.weigh`."""
        del params, losses, labelled, key
        counts = _solvers.counted(gram)
        mean = counts / jnp.maximum(jnp.sum(counts), 1)
        matrix = _solvers.regularised(gram, self.regularization)
        return Weights(*_solvers.cone(matrix, mean)), {}, state
