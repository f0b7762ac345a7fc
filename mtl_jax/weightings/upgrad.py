"""UPGrad (Quinton, Rey, arXiv 2406.16232): the mean of the gradients' projections on the dual cone.

Each g_k is projected on the cone of directions along which no task ascends, and the projections are
averaged: K problems min vᵀMv, v ≥ e_k / K.
"""

import dataclasses

import jax
import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.weightings import _solvers
from mtl_jax.weightings._gram import GramWeighting, Weights


@dataclasses.dataclass(frozen=True)
class UPGrad(GramWeighting):
    """The mean of all gradients, each projected so that no task ascends.

    >>> method = UPGrad(("semseg", "depth"))
    >>> gram = jnp.array([[18.0, -22.0], [-22.0, 38.0]])  # of (−4, 1, 1) and (6, 1, 1)
    >>> params, state = method.init(jax.random.key(0))
    >>> losses, labelled, key = jnp.ones(2), jnp.array([True, True]), jax.random.key(1)
    >>> weights, _, state = method.solve(params, state, gram, losses, labelled, key)
    >>> print(weights)
    [1.1111 0.7895]
    """

    regularization: float = _options.option(
        0.0, "added to M's diagonal, as a share of its trace", _options.number(least=0, most=1)
    )

    def weigh(self, params, state, gram, losses, labelled, key):
        """See `GramWeighting.weigh`."""
        del params, losses, labelled, key
        counts = _solvers.counted(gram)
        each = jnp.diag(counts / jnp.maximum(jnp.sum(counts), 1))
        matrix = _solvers.regularised(gram, self.regularization)
        projected, residuals = jax.vmap(lambda least: _solvers.cone(matrix, least))(each)
        return Weights(jnp.sum(projected, axis=0), jnp.max(residuals)), {}, state
