"""Dynamic weight average (Liu, Johns, Davison, CVPR 2019; report C).

λ_k(t) = K · exp(w_k(t−1) / T) / Σ_i exp(w_i(t−1) / T),  w_k(t−1) = L_k(t−1) / L_k(t−2),

where t counts epochs, L_k(t) is the mean over epoch t of the unweighted training loss, K is the
number of tasks, and λ = 1 in the first two epochs. A task whose loss falls slowly gets more weight.
"""

import dataclasses

import jax
import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.weightings._base import Weighting


@dataclasses.dataclass(frozen=True)
class DynamicWeightAverage(Weighting):
    """Weights by the rate at which each task's loss fell over the last two epochs.

    The state is {'weights': {task: scalar}, 'losses': {task: mean loss of the last epoch that had
    a label of the task, 0 if none had}}.

    >>> method = DynamicWeightAverage(("semseg", "depth"))
    >>> state, labelled = method.init(jax.random.key(0))[1], jnp.array([True, True])
    >>> for losses in ([0.50, 0.031], [0.40, 0.030]):  # two epochs
    ...     state = method.end_epoch(state, jnp.array(losses), labelled)
    >>> print(method.total({}, state, jnp.ones(2), labelled, None)[1])
    [0.9581 1.0419]

    Attributes:
      temperature: T; the larger, the more even.
    """

    linear = True

    temperature: float = _options.option(
        2.0, "the larger, the more even", _options.number(least=1e-6)
    )

    def init(self, key, like=None):
        """See `Weighting.init`."""
        del key, like
        ones = self.by_task(jnp.ones(len(self.tasks), jnp.float32))
        return {}, {"weights": ones, "losses": jax.tree.map(jnp.zeros_like, ones)}

    def total(self, params, state, losses, labelled, key):
        """See `Weighting.total`."""
        del params, labelled, key
        weights = self.stack(state["weights"])
        return sum(weights * losses), weights

    def end_epoch(self, state, mean_losses, labelled, scores=None):
        """New weights; a task that has no two losses to compare counts as one that stands still."""
        del scores
        before = self.stack(state["losses"])
        comparable = labelled & (before > 0)
        ratios = jnp.where(comparable, mean_losses / jnp.where(comparable, before, 1.0), 1.0)
        weights = len(self.tasks) * jax.nn.softmax(ratios / self.temperature)
        losses = jnp.where(labelled, mean_losses, before)
        return {"weights": self.by_task(weights), "losses": self.by_task(losses)}
