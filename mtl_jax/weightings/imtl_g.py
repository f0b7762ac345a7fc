"""IMTL-G, impartial multi-task learning of gradients (Liu et al., ICLR 2021).

The combination of the gradients whose projections on all of them are equal: w = v / Σ v with
v = D⁻¹ C⁺ 1, where C has the cosines and D the lengths.
"""

import dataclasses

import jax
import jax.numpy as jnp

from mtl_jax.weightings import _solvers
from mtl_jax.weightings._gram import GramWeighting, Weights


@dataclasses.dataclass(frozen=True)
class IMTLG(GramWeighting):
    """Equal projections on all gradients; guarded, so that it does not lead uphill.

    >>> method = IMTLG(("semseg", "depth"))
    >>> gram = jnp.array([[18.0, -22.0], [-22.0, 38.0]])  # of (−4, 1, 1) and (6, 1, 1)
    >>> params, state = method.init(jax.random.key(0))
    >>> losses, labelled, key = jnp.ones(2), jnp.array([True, True]), jax.random.key(1)
    >>> weights, _, state = method.solve(params, state, gram, losses, labelled, key)
    >>> print(weights)
    [0.5923 0.4077]
    """

    def weigh(self, params, state, gram, losses, labelled, key):
        """See `GramWeighting.weigh`."""
        del params, losses, labelled, key
        weights, guarded, residual = impartial(gram)
        return Weights(weights, residual, guarded), {}, state


def impartial(gram: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """IMTL-G's weights [K], whether they were guarded, and the residual.

    Where Σ v < 0, dividing by it would turn the step against every task: it is divided by Σ |v|
    then, and where it is next to nothing. The residual is how much the projections differ, if C is
    regular.
    """
    counts = _solvers.counted(gram)
    ones = counts.astype(jnp.float32)
    cos = _solvers.cosines(gram)
    solved = _solvers.inverse(cos, ones)
    v = jnp.where(counts, solved / _solvers.lengths(gram), 0.0)
    total, size = jnp.sum(v), jnp.sum(jnp.abs(v))
    guarded = total < 1e-3 * size
    total = jnp.where(guarded, size, total)
    # For dependent gradients there may be no equal projections: those of 1's part in the span are.
    fitted = _solvers.times(cos, solved)
    again = _solvers.inverse(cos, fitted)
    residual = jnp.max(jnp.abs(again - solved)) / jnp.maximum(jnp.max(jnp.abs(solved)), 1e-6)
    return v / jnp.where(total != 0, total, 1.0), guarded, residual
