"""ExcessMTL (He et al., ICML 2024): weights by how much risk each task has left.

The excess risk is estimated by e = Σ g² / √(S + 10⁻⁷), S the sum of all squared gradients so far,
and the weights grow by w ← w e^(η e / e₀), e₀ being the first estimate; they sum to K.
"""

import dataclasses

import jax
import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.weightings._base import GradientWeighting, ascends, weighted_sum


@dataclasses.dataclass(frozen=True)
class ExcessMTL(GradientWeighting):
    """Multiplicative weights by excess risk; 1 each at the first step.

    The state has every task's squared gradients, K times the size of the gradient. What a task
    without a label has there, and its weight, stay; the others share the weight that they had.

    >>> method = ExcessMTL(("semseg", "depth"), step_size=0.3)
    >>> gradients = [jnp.array([-4.0, 1.0, 1.0]), jnp.array([6.0, 1.0, 1.0])]
    >>> params, state = method.init(jax.random.key(0), like=gradients[0])
    >>> losses, labelled = jnp.ones(2), jnp.array([True, True])
    >>> for gradients in (gradients, [gradients[0], 0.1 * gradients[1]]):
    ...     found = method.combine(params, state, gradients, losses, labelled, None)
    ...     state = found[3]
    >>> print(found[1])
    [1.103 0.897]

    Attributes:
      step_size: η.
    """

    heads: str = _options.option(
        "weighted",
        "own parameters of a task: its gradient as it is, or times its weight",
        _options.one_of("plain", "weighted"),
    )
    step_size: float = _options.option(
        0.01, "how fast the weights follow the risks", _options.number(least=0, most=100)
    )

    def init(self, key, like=None):
        """See `Weighting.init`."""
        del key
        count = len(self.tasks)
        return {}, {
            "squares": self.zeros(like),
            "first": jnp.zeros(count, jnp.float32),
            "weights": jnp.ones(count, jnp.float32),
            "ascents": jnp.zeros((), jnp.int32),
        }

    def combine(self, params, state, gradients, losses, labelled, key):
        """See `GradientWeighting.combine`."""
        del params, losses, key
        squares, risks = {}, []
        for k, task in enumerate(self.tasks):
            added = jax.tree.map(
                lambda old, g: old + jnp.square(g.astype(jnp.float32)),
                state["squares"][task],
                gradients[k],
            )
            squares[task] = added
            parts = jax.tree.map(
                lambda g, s: jnp.sum(jnp.square(g.astype(jnp.float32)) / jnp.sqrt(s + 1e-7)),
                gradients[k],
                added,
            )
            risks.append(sum(jax.tree.leaves(parts)))
        risks = jnp.stack(risks)
        # A task's first estimate is the measure of its later ones, and moves no weight by itself.
        begins = labelled & (state["first"] == 0)
        first = jnp.where(begins, risks, state["first"])
        growth = self.step_size * risks / jnp.where(first != 0, first, 1.0)
        growth = jnp.where(begins, 0.0, growth)
        high = jnp.max(jnp.where(labelled, growth, 0.0))
        grown = jnp.where(labelled, state["weights"] * jnp.exp(growth - high), 0.0)
        whole = jnp.sum(jnp.where(labelled, state["weights"], 0.0))
        total = jnp.sum(grown)
        grown = grown * whole / jnp.where(total != 0, total, 1.0)
        weights = jnp.where(labelled, grown, state["weights"])
        used = jnp.where(labelled, weights, 0.0)
        gradient = weighted_sum(used, gradients)
        uphill = ascends(gradients, gradient, labelled)
        state = {
            "squares": squares,
            "first": first,
            "weights": weights,
            "ascents": state["ascents"] + uphill,
        }
        return gradient, used, {}, state

    def diagnostics(self, state):
        """How many steps led uphill for a task."""
        return {"ascents": state["ascents"]}
