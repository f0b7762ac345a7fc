"""CAGrad, conflict-averse gradient descent (Liu et al., NeurIPS 2021, arXiv 2110.14048).

Among the directions that differ from the mean gradient g₀ by at most c |g₀|, the one along which
the task that gains least gains most. With w* = argmin over the simplex of
g_w · g₀ + c |g₀| |g_w|, g_w = Σ w_k g_k, it is g₀ + c |g₀| / |g_w*| g_w*.
"""

import dataclasses

import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.weightings import _solvers
from mtl_jax.weightings._gram import RESIDUAL_LIMIT, GramWeighting, Weights

TINY = 1e-20  # of a squared length, relative to the sum of all gradients' squares


@dataclasses.dataclass(frozen=True)
class CAGrad(GramWeighting):
    """The mean gradient, turned towards the task that gains least.

    >>> method = CAGrad(("semseg", "depth"))
    >>> gram = jnp.array([[18.0, -22.0], [-22.0, 38.0]])  # of (−4, 1, 1) and (6, 1, 1)
    >>> params, state = method.init(jax.random.key(0))
    >>> losses, labelled, key = jnp.ones(2), jnp.array([True, True]), jax.random.key(1)
    >>> weights, _, state = method.solve(params, state, gram, losses, labelled, key)
    >>> print(weights)
    [0.5718 0.4310]

    Attributes:
      c: 0 is the mean gradient; from 1 on the step may be as long as MGDA's is short.
      rescale: 0, 1 or 2: the step is divided by 1, 1 + c² or 1 + c.
    """

    c: float = _options.option(
        0.4, "how far from the mean gradient, in its lengths", _options.number(least=0, most=1e3)
    )
    rescale: int = _options.option(1, "divide by 1, 1 + c² or 1 + c", _options.one_of(0, 1, 2))

    def weigh(self, params, state, gram, losses, labelled, key):
        """See `GramWeighting.weigh`."""
        del params, losses, labelled, key
        counts = _solvers.counted(gram)
        trace = jnp.trace(gram)
        matrix = gram / jnp.where(trace != 0, trace, 1.0)
        mean = counts / jnp.maximum(jnp.sum(counts), 1).astype(jnp.float32)
        along = _solvers.times(matrix, mean)  # g_k · g₀
        radius = self.c * jnp.sqrt(jnp.maximum(jnp.sum(mean * along), 0.0))

        def length(w):
            return jnp.sqrt(jnp.maximum(jnp.sum(w * _solvers.times(matrix, w)), TINY))

        def gradient(w):
            return along + radius * _solvers.times(matrix, w) / length(w)

        def hessian(w):
            slope = _solvers.times(matrix, w) / length(w)
            return radius / length(w) * (matrix - slope[:, None] * slope[None, :])

        worst, residual = _solvers.simplex(gram, gradient, hessian)
        # Where the worst combination cancels to next to nothing, no direction is better than none.
        lengths = jnp.sqrt(jnp.diag(matrix))
        short = length(worst) < 1e-3 * jnp.sum(worst * lengths)
        # Nor is any where the mean gradient does.
        still = (radius < 1e-3 * self.c * jnp.sum(mean * lengths)) if self.c else False
        turned = mean + worst * jnp.where(short, 0.0, radius / length(worst))
        nothing = short | still
        # Near such a combination the solver may fail, and what it has found lead uphill.
        weights = jnp.where(nothing | (residual > RESIDUAL_LIMIT), 0.0, turned)
        divisor = (1.0, 1.0 + self.c**2, 1.0 + self.c)[self.rescale]
        return Weights(weights / divisor, jnp.where(nothing, 0.0, residual)), {}, state
