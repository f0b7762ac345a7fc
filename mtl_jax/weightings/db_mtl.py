"""DB-MTL, dual-balancing multi-task learning (Lin et al., arXiv 2308.12029).

Losses are balanced by their logarithms, q_k = g_k / L_k, and gradients by their lengths: with the
moving average b ← q + (β / t^σ)(b − q), the step is Σ b_k max_j |b_j| / |b_k|.
"""

import dataclasses

import jax
import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.errors import ConfigError
from mtl_jax.weightings._base import GradientWeighting, ascends, inner_products, weighted_sum


@dataclasses.dataclass(frozen=True)
class DualBalancing(GradientWeighting):
    """Averaged gradients of the log losses, all as long as the longest.

    The state has every task's average, K times the size of the gradient; with β = 0 nothing is
    averaged, and the step is a weighted sum of the gradients. The average of a task without a label
    stays, and is not in the sum; nor is that of a task whose loss is exactly 0.

    >>> method = DualBalancing(("semseg", "depth"), beta=0.0)
    >>> gradients = [jnp.array([-4.0, 1.0, 1.0]), jnp.array([6.0, 1.0, 1.0])]
    >>> params, state = method.init(jax.random.key(0), like=gradients[0])
    >>> losses, labelled = jnp.ones(2), jnp.array([True, True])
    >>> print(method.combine(params, state, gradients, losses, labelled, None)[1])
    [1.453 1.]

    Attributes:
      beta: β, how much of the average stays.
      sigma: σ, how fast that falls with the steps t.
      bias_correction: divide the average by 1 − β^t; without, the first steps are too short.
    """

    beta: float = _options.option(
        0.9, "how much of the average gradient stays", _options.number(least=0, most=0.99999)
    )
    sigma: float = _options.option(
        0.0, "how fast that falls with the steps", _options.number(least=0, most=10)
    )
    bias_correction: bool = _options.option(
        False, "whole length from the first step on", _options.truth
    )

    def __post_init__(self):
        super().__post_init__()
        if self.bias_correction and self.sigma:
            raise ConfigError(
                f"DualBalancing.sigma={self.sigma} with bias_correction; expected 0, as the "
                "correction is that of a constant share."
            )

    def init(self, key, like=None):
        """See `Weighting.init`."""
        del key
        count = jnp.zeros((), jnp.int32)
        state = {"ascents": count}
        if self.beta:
            state |= {"averages": self.zeros(like), "steps": jnp.zeros(len(self.tasks), jnp.int32)}
        return {}, state

    def combine(self, params, state, gradients, losses, labelled, key):
        """See `GradientWeighting.combine`."""
        del params, key
        counts = labelled & (losses != 0)
        inverse = jnp.where(counts, 1 / jnp.where(losses < 0, jnp.nan, losses), 0.0)
        if not self.beta:
            lengths = jnp.sqrt(jnp.diag(inner_products(gradients))) * inverse
            weights = _as_long_as_the_longest(lengths, counts) * inverse
            gradient = weighted_sum(weights, gradients)
        else:
            state, averages = self._averaged(state, gradients, inverse, counts)
            lengths = jnp.sqrt(jnp.diag(inner_products(averages)))
            gradient = weighted_sum(_as_long_as_the_longest(lengths, counts), averages)
            weights = None
        uphill = ascends(gradients, gradient, labelled)
        return gradient, weights, {}, state | {"ascents": state["ascents"] + uphill}

    def _averaged(self, state, gradients, inverse, counts):
        """New state, and the averages, corrected where that is wanted."""
        steps = state["steps"] + counts
        kept = self.beta / jnp.maximum(steps, 1).astype(jnp.float32) ** self.sigma
        averages, found = {}, []
        for k, task in enumerate(self.tasks):

            def renew(old, gradient, k=k):
                new = gradient.astype(jnp.float32) * inverse[k]
                return jnp.where(counts[k], new + kept[k] * (old - new), old)

            averages[task] = jax.tree.map(renew, state["averages"][task], gradients[k])
            found.append(averages[task])
        if self.bias_correction:
            part = 1 - self.beta ** jnp.maximum(steps, 1).astype(jnp.float32)
            found = [jax.tree.map(lambda x, k=k: x / part[k], tree) for k, tree in enumerate(found)]
        return state | {"averages": averages, "steps": steps}, found

    def head_weights(self, params, weights, losses, labelled):
        """Weighted heads get the gradients of the log losses. See `GradientWeighting`."""
        del params, weights, labelled
        if self.heads == "plain":
            return jnp.ones(len(self.tasks), jnp.float32)
        return jnp.where(losses != 0, 1 / jnp.where(losses != 0, losses, 1.0), 0.0)

    def diagnostics(self, state):
        """How many steps led uphill for a task."""
        return {"ascents": state["ascents"]}


def _as_long_as_the_longest(lengths, counts):
    longest = jnp.max(jnp.where(counts, lengths, 0.0))
    return jnp.where(counts & (lengths != 0), longest / jnp.where(lengths != 0, lengths, 1.0), 0.0)
