"""GradNorm (Chen et al., ICML 2018, arXiv 1711.02257): the tasks learn at one pace.

Weights w = K softmax(s) are learned so that the weighted gradients' lengths w_k d_k come near
t_k = mean(w d) · (r_k / mean r)^α, with r_k = L_k / L_k(0), by steps of Adam on Σ |w_k d_k − t_k|,
where t is constant. The step uses the weights from before it.
"""

import dataclasses

import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.weightings import _adam
from mtl_jax.weightings._base import softmax
from mtl_jax.weightings._gram import GramWeighting, Weights


@dataclasses.dataclass(frozen=True)
class GradNorm(GramWeighting):
    """Weights by which slow tasks have longer gradients.

    >>> method = GradNorm(("semseg", "depth"))
    >>> gram = jnp.array([[18.0, -22.0], [-22.0, 38.0]])  # of (−4, 1, 1) and (6, 1, 1)
    >>> params, state = method.init(jax.random.key(0))
    >>> losses, labelled, key = jnp.ones(2), jnp.array([True, True]), jax.random.key(1)
    >>> weights, _, state = method.solve(params, state, gram, losses, labelled, key)
    >>> print(weights)
    [1. 1.]
    """

    every_step = True

    heads: str = _options.option(
        "weighted",
        "own parameters of a task: its gradient as it is, or times its weight",
        _options.one_of("plain", "weighted"),
    )
    alpha: float = _options.option(
        1.5, "how strongly slow tasks are helped", _options.number(least=0, most=100)
    )
    learning_rate: float = _options.option(
        0.025, "of the weights' logits", _options.number(least=0, most=100)
    )
    optimizer: str = _options.option(
        "adam", "of the weights' logits", _options.one_of("adam", "sgd")
    )

    def start(self, key):
        """See `GramWeighting.start`: logits, Adam's moments, and L(0), 0 before the first label."""
        del key
        zeros = jnp.zeros(len(self.tasks), jnp.float32)
        return {}, {"logits": zeros, "initial": zeros, "adam": _adam.init(zeros)}

    def weigh(self, params, state, gram, losses, labelled, key):
        """See `GramWeighting.weigh`."""
        del params, key
        count = jnp.maximum(jnp.sum(labelled), 1)
        initial = jnp.where(labelled & (state["initial"] == 0), losses, state["initial"])
        weights = jnp.sum(labelled) * softmax(state["logits"], labelled)
        lengths = jnp.where(labelled, jnp.sqrt(jnp.diag(gram)), 0.0)
        rates = jnp.where(labelled, losses / jnp.where(initial != 0, initial, 1.0), 0.0)
        mean_rate = jnp.sum(rates) / count
        pace = (rates / jnp.where(mean_rate != 0, mean_rate, 1.0)) ** self.alpha
        targets = jnp.sum(weights * lengths) / count * pace
        slopes = jnp.sign(weights * lengths - targets) * lengths
        # Through the softmax, whose K weights sum to the number of labelled tasks.
        slopes = weights * slopes - weights * jnp.sum(weights * slopes) / count
        step, adam = slopes, state["adam"]
        if self.optimizer == "adam":
            step, adam = _adam.direction(slopes, adam, labelled)
        logits = state["logits"] - self.learning_rate * jnp.where(labelled, step, 0.0)
        return Weights(weights), {}, {"logits": logits, "initial": initial, "adam": adam}
