"""ConFIG, conflict-free gradients (Liu, Chu, Thuerey, ICLR 2025, arXiv 2408.11104).

The direction has the same cosine with every gradient, as IMTL-G's, and never leads uphill; its
length is the sum of the gradients' projections on it. u = Σ a_k g_k / d_k with a = C⁺ 1.
"""

import dataclasses

import jax.numpy as jnp

from mtl_jax.weightings import _solvers
from mtl_jax.weightings._gram import GramWeighting, Weights


@dataclasses.dataclass(frozen=True)
class ConFIG(GramWeighting):
    """Equal cosines with all gradients, as long as the sum of all projections.

    >>> method = ConFIG(("semseg", "depth"))
    >>> gram = jnp.array([[18.0, -22.0], [-22.0, 38.0]])  # of (−4, 1, 1) and (6, 1, 1)
    >>> params, state = method.init(jax.random.key(0))
    >>> losses, labelled, key = jnp.ones(2), jnp.array([True, True]), jax.random.key(1)
    >>> weights, _, state = method.solve(params, state, gram, losses, labelled, key)
    >>> print(weights)
    [1.2265 0.8441]
    """

    def weigh(self, params, state, gram, losses, labelled, key):
        """See `GramWeighting.weigh`."""
        del params, losses, labelled, key
        counts = _solvers.counted(gram)
        cos, d = _solvers.cosines(gram), _solvers.lengths(gram)
        solved = jnp.where(counts, _solvers.inverse(cos, counts.astype(jnp.float32)), 0.0)
        overlaps = jnp.where(counts, _solvers.times(cos, solved), 0.0)  # g_k · u / d_k
        squared = jnp.sum(solved * overlaps)
        length = jnp.sum(d * overlaps) / jnp.where(squared != 0, squared, 1.0)
        return Weights(solved / d * length), {}, state
