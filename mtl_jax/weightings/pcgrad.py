"""PCGrad, gradient surgery (Yu et al., NeurIPS 2020, arXiv 2001.06782).

From each task's gradient, what conflicts with the other tasks' is projected away, one other task
after the other in random order:

g_i ← g_i − min(0, g_i · g_j) / (g_j · g_j) g_j,

and the results are summed. All the projections stay in the span of the tasks' gradients, so they
are done on coefficients, from the K × K inner products; no gradient is copied.
"""

import dataclasses

import jax
import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.weightings._gram import GramWeighting, Weights


@dataclasses.dataclass(frozen=True)
class PCGrad(GramWeighting):
    """Projects conflicting gradients of the parameters that tasks share.

    >>> method = PCGrad(("semseg", "depth"))
    >>> gram = jnp.array([[18.0, -22.0], [-22.0, 38.0]])
    >>> params, state = method.init(jax.random.key(0))
    >>> losses, labelled = jnp.ones(2), jnp.array([True, True])
    >>> key = jax.random.key(1)
    >>> print(method.solve(params, state, gram, losses, labelled, key)[0])
    [2.222 1.579]

    Attributes:
      reduce: the projected gradients are summed, or averaged over the labelled tasks.
    """

    reduce: str = _options.option(
        "sum", "sum or mean of the projected gradients", _options.one_of("sum", "mean")
    )

    def orders(self, key: jax.Array) -> jax.Array:
        """[K, K]: in which order each task meets all of them; it leaves itself out."""
        count = len(self.tasks)
        keys = jax.random.split(key, count)
        return jax.vmap(lambda key: jax.random.permutation(key, count))(keys)

    def weigh(self, params, state, gram, losses, labelled, key):
        """See `GramWeighting.weigh`."""
        del params, losses
        weights = projected_sum(gram, self.orders(key))
        if self.reduce == "mean":
            weights = weights / jnp.maximum(jnp.sum(labelled), 1)
        return Weights(weights), {}, state


def projected_sum(inner_products: jax.Array, orders: jax.Array) -> jax.Array:
    """The coefficients c of PCGrad's result Σ_k c_k g_k.

    Args:
      inner_products: [K, K] float32, g_i · g_j.
      orders: [K, n] integers, the tasks that each task meets, one after the other.

    Returns:
      [K] float32, at least 1 where the gradient is not 0.
    """
    count = len(inner_products)

    def project(i, order):
        def meet(coefficients, j):
            # Sums of products, as a matrix product might be done in less than float32.
            overlap = jnp.sum(coefficients * inner_products[:, j])
            square = inner_products[j, j]
            step = jnp.minimum(overlap, 0.0) / jnp.where(square != 0, square, 1.0)
            return coefficients.at[j].add(jnp.where((j == i) | (square == 0), 0.0, -step)), None

        start = jnp.zeros(count, jnp.float32).at[i].set(1.0)
        return jax.lax.scan(meet, start, order)[0]

    return jnp.sum(jax.vmap(project)(jnp.arange(count), orders), axis=0)
