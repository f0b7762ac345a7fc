"""Aligned-MTL (Senushkin et al., CVPR 2023, arXiv 2305.19000).

The gradients are replaced by the nearest orthogonal ones of equal length, so that none dominates
and none conflicts: with M = V Λ Vᵀ, w = √σ V Λ^(−1/2) Vᵀ p, over the eigenvalues that are not 0.
"""

import dataclasses

import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.weightings import _solvers
from mtl_jax.weightings._gram import GramWeighting, Weights


@dataclasses.dataclass(frozen=True)
class AlignedMTL(GramWeighting):
    """Weights with which the system of gradients has a condition number of 1.

    >>> method = AlignedMTL(("semseg", "depth"))
    >>> gram = jnp.array([[18.0, -22.0], [-22.0, 38.0]])  # of (−4, 1, 1) and (6, 1, 1)
    >>> params, state = method.init(jax.random.key(0))
    >>> losses, labelled, key = jnp.ones(2), jnp.array([True, True]), jax.random.key(1)
    >>> weights, _, state = method.solve(params, state, gram, losses, labelled, key)
    >>> print(weights)
    [1.1181 0.8165]

    Attributes:
      scale: of the eigenvalues, the one that all get.
      preference: how much each task is to count.
    """

    scale: str = _options.option(
        "min",
        "σ: the least, the mean or the lower median eigenvalue",
        _options.one_of("min", "rmse", "median"),
    )
    preference: str = _options.option(
        "sum", "p = 1, or 1 over the number of tasks", _options.one_of("sum", "mean")
    )

    def start(self, key):
        """See `GramWeighting.start`. The state is the rank that the last matrix had."""
        del key
        return {}, {"rank": jnp.zeros((), jnp.int32)}

    def weigh(self, params, state, gram, losses, labelled, key):
        """See `GramWeighting.weigh`."""
        del params, state, losses, labelled, key
        counts = _solvers.counted(gram)
        count = jnp.maximum(jnp.sum(counts), 1)
        values, vectors = _solvers.eigen(gram)  # ascending
        kept = values > 0
        rank = jnp.sum(kept)
        least = jnp.min(jnp.where(kept, values, jnp.inf))
        if self.scale == "rmse":
            least = jnp.sum(jnp.where(kept, values, 0.0)) / jnp.maximum(rank, 1)
        elif self.scale == "median":
            first = len(values) - rank
            least = values[jnp.minimum(first + (rank - 1) // 2, len(values) - 1)]
        preference = counts / (count if self.preference == "mean" else 1.0)
        shares = _solvers.times(vectors.T, preference) * jnp.sqrt(
            least / jnp.where(kept, values, 1.0)
        )
        weights = _solvers.times(vectors, jnp.where(kept, shares, 0.0))
        # A NaN is not above 0, and is to be seen; nor has what is infinite a rank.
        weights = jnp.where(jnp.isfinite(jnp.trace(gram)), weights, jnp.nan)
        return Weights(jnp.where(counts, weights, 0.0)), {}, {"rank": rank}

    def diagnostics(self, state):
        """See `Weighting.diagnostics`; and the rank: gradients that are not dependent."""
        return super().diagnostics(state) | state["method"]
