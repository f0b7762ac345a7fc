"""PCGrad, gradient surgery (Yu et al., NeurIPS 2020).

From each task's gradient, what conflicts with the other tasks' is projected away, one other task
after the other in random order:

g_i ← g_i − min(0, g_i · g_j) / (g_j · g_j) g_j,

and the results are summed. All the projections stay in the span of the tasks' gradients, so they
are done on coefficients, from the K × K inner products; no gradient is copied.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from mtl_jax import weightings

OPTIONS = {}


@dataclasses.dataclass(frozen=True)
class PCGrad(weightings.Weighting):
    """Projects conflicting gradients of the parameters that tasks share.

    Shared are the arrays that more than one task's gradient reaches, i.e. is not 0 everywhere; the
    others keep their task's own gradient.
    """

    needs_gradients = True

    def combine(self, params, state, losses, labelled, key):
        """The sum of the losses; see `Weighting.combine`."""
        del params, state, labelled, key
        return sum(losses.values()), weightings.as_array(dict.fromkeys(self.tasks, 1.0))

    def combine_gradients(self, state, gradients, labelled, key):
        """The weights are the tasks' shares in the shared parameters' gradient.

        See `Weighting.combine_gradients`.
        """
        del labelled
        each = [gradients[task] for task in self.tasks]
        shared = jax.tree.map(_is_shared, *each)
        shares = projected_sum(_inner_products(each, shared), key)

        def combine(is_shared, *leaves):
            factors = jnp.where(is_shared, shares, 1.0)
            return sum(factor * leaf for factor, leaf in zip(factors, leaves, strict=True))

        gradient = jax.tree.map(combine, shared, *each)
        return gradient, dict(zip(self.tasks, shares, strict=True)), state


def projected_sum(inner_products: jax.Array, key: jax.Array) -> jax.Array:
    """The coefficients c of PCGrad's result Σ_k c_k g_k.

    Args:
      inner_products: [K, K] float32, g_i · g_j.
      key: PRNG key of the order in which each task meets the others.

    Returns:
      [K] float32, at least 1 where the gradient is not 0.
    """
    count = len(inner_products)

    def project(i, key):
        def meet(coefficients, j):
            # Sums of products, as a matrix product might be done in less than float32.
            overlap = jnp.sum(coefficients * inner_products[:, j])
            square = inner_products[j, j]
            step = jnp.minimum(overlap, 0.0) / jnp.where(square > 0, square, 1.0)
            return coefficients.at[j].add(jnp.where((j == i) | (square <= 0), 0.0, -step)), None

        start = jnp.zeros(count, jnp.float32).at[i].set(1.0)
        return jax.lax.scan(meet, start, jax.random.permutation(key, count))[0]

    return jnp.sum(jax.vmap(project)(jnp.arange(count), jax.random.split(key, count)), axis=0)


def _is_shared(*leaves: jax.Array) -> jax.Array:
    return sum(jnp.any(leaf != 0).astype(jnp.int32) for leaf in leaves) > 1


def _inner_products(gradients: list[Any], shared: Any) -> jax.Array:
    """[K, K] of g_i · g_j over the shared leaves."""
    weigh = lambda is_shared, a, b: jnp.where(is_shared, jnp.sum(a * b), 0.0)  # noqa: E731
    rows = [
        [sum(jax.tree.leaves(jax.tree.map(weigh, shared, a, b))) for b in gradients]
        for a in gradients
    ]
    return jnp.array(rows, jnp.float32)


def build(config, tasks) -> PCGrad:
    """Builds the weighting; it has no options."""
    del config
    return PCGrad(tasks=tuple(tasks))
