"""GradVac, gradient vaccine (Wang et al., ICLR 2021, arXiv 2010.05874).

As PCGrad, with a goal φ_ij for the cosine of every pair instead of 0: where it is less, g_i gets as
much of g_j as makes it φ_ij. The goals are moving averages of the cosines that were met.
"""

import dataclasses

import jax
import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.weightings import _solvers
from mtl_jax.weightings._gram import GramWeighting, Weights


@dataclasses.dataclass(frozen=True)
class GradVac(GramWeighting):
    """Raises the cosine of each pair of gradients to what it has been on average.

    >>> method = GradVac(("semseg", "depth"))
    >>> gram = jnp.array([[18.0, -22.0], [-22.0, 38.0]])  # of (−4, 1, 1) and (6, 1, 1)
    >>> params, state = method.init(jax.random.key(0))
    >>> losses, labelled, key = jnp.ones(2), jnp.array([True, True]), jax.random.key(1)
    >>> weights, _, state = method.solve(params, state, gram, losses, labelled, key)
    >>> print(weights)
    [2.2222 1.5789]
    """

    every_step = True

    beta: float = _options.option(
        0.5, "how much of a goal is renewed at a step", _options.number(least=0, most=1)
    )

    def start(self, key):
        """See `GramWeighting.start`. The state is the goals [K, K], at first 0: PCGrad's."""
        del key
        count = len(self.tasks)
        return {}, {"goals": jnp.zeros((count, count), jnp.float32)}

    def orders(self, key: jax.Array) -> jax.Array:
        """[K, K]: in which order each task meets all of them; it leaves itself out."""
        count = len(self.tasks)
        keys = jax.random.split(key, count)
        return jax.vmap(lambda key: jax.random.permutation(key, count))(keys)

    def weigh(self, params, state, gram, losses, labelled, key):
        """See `GramWeighting.weigh`."""
        del params, losses, labelled
        count = len(gram)
        counts, d = _solvers.counted(gram), _solvers.lengths(gram)

        def vaccinate(i, goals, order):
            def meet(carry, j):
                c, goals = carry
                length = jnp.sqrt(jnp.sum(c * _solvers.times(gram, c)))
                overlap = jnp.sum(c * gram[:, j])
                cos = overlap / jnp.where(length * d[j] != 0, length * d[j], 1.0)
                cos = jnp.clip(cos, -1.0, 1.0)
                goal = jnp.minimum(goals[j], 1 - 1e-6)
                sine, goal_sine = jnp.sqrt(1 - cos**2), jnp.sqrt(1 - goal**2)
                part = length * (goal * sine - cos * goal_sine) / (d[j] * goal_sine)
                meets = (j != i) & counts[i] & counts[j]
                # Not `cos < goal`: where it is NaN, that is to be seen.
                c = c.at[j].add(jnp.where(meets & ~(cos >= goal), part, 0.0))
                renewed = (1 - self.beta) * goals[j] + self.beta * cos
                return (c, goals.at[j].set(jnp.where(meets, renewed, goals[j]))), None

            start = jnp.zeros(count, jnp.float32).at[i].set(1.0)
            return jax.lax.scan(meet, (start, goals), order)[0]

        each, goals = jax.vmap(vaccinate)(jnp.arange(count), state["goals"], self.orders(key))
        return Weights(jnp.sum(each, axis=0)), {}, {"goals": goals}
