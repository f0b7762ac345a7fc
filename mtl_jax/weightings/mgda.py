"""MGDA, the multiple-gradient descent algorithm (Désidéri 2012; Sener, Koltun, NeurIPS 2018,
arXiv 1810.04650).

The shortest convex combination of the gradients, min |Σ α_k g_k / n_k|² over the simplex, is a
direction of common descent, and 0 exactly where none is left. The weights are α / n.
"""

import dataclasses

import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.weightings import _solvers
from mtl_jax.weightings._gram import GramWeighting, Weights


@dataclasses.dataclass(frozen=True)
class MGDA(GramWeighting):
    """The shortest combination of the gradients, each divided by its n.

    >>> method = MGDA(("semseg", "depth"))
    >>> gram = jnp.array([[18.0, -22.0], [-22.0, 38.0]])  # of (−4, 1, 1) and (6, 1, 1)
    >>> params, state = method.init(jax.random.key(0))
    >>> losses, labelled, key = jnp.ones(2), jnp.array([True, True]), jax.random.key(1)
    >>> weights, _, state = method.solve(params, state, gram, losses, labelled, key)
    >>> print(weights)
    [0.6 0.4]

    Attributes:
      normalize: n_k, 'none': 1, 'l2': |g_k|, 'loss': L_k, 'loss+': L_k |g_k|.
    """

    normalize: str = _options.option(
        "none",
        "what a gradient is divided by: nothing, its length, its loss, or both",
        _options.one_of("none", "l2", "loss", "loss+"),
    )

    def weigh(self, params, state, gram, losses, labelled, key):
        """See `GramWeighting.weigh`."""
        del params, labelled, key
        counts = _solvers.counted(gram)
        scale = jnp.ones_like(losses)
        if self.normalize in ("l2", "loss+"):
            scale = scale * _solvers.lengths(gram)
        if self.normalize in ("loss", "loss+"):
            # A loss below 0 would turn the step uphill, and one of 0 has no gradient to divide.
            scale = scale * jnp.where(counts, jnp.where(losses > 0, losses, jnp.nan), 1.0)
        shares, residual = _solvers.shortest(gram / scale[:, None] / scale[None, :])
        return Weights(shares / scale, residual), {}, state
