"""Dynamic weight average (Liu, Johns, Davison, CVPR 2019; report C).

λ_k(t) = K · exp(w_k(t−1) / T) / Σ_i exp(w_i(t−1) / T),  w_k(t−1) = L_k(t−1) / L_k(t−2),

where t counts epochs, L_k(t) is the mean over epoch t of the unweighted training loss, K is the
number of tasks, and λ = 1 in the first two epochs. A task whose loss falls slowly gets more weight.
"""

import dataclasses

import jax
import jax.numpy as jnp

from mtl_jax import weightings
from mtl_jax._options import Option, number
from mtl_jax.errors import ConfigError

OPTIONS = {"temperature": Option(2.0, "T; the larger, the more even", number(least=1e-6))}


@dataclasses.dataclass(frozen=True)
class DynamicWeightAverage(weightings.Weighting):
    """Weights by the rate at which each task's loss fell over the last two epochs.

    The state is {'weights': {task: scalar}, 'losses': {task: mean loss of the last epoch that had
    a label of the task, 0 if none had}}.

    Attributes:
      temperature: T; the larger, the more even.
    """

    temperature: float = 2.0

    def init(self, key):
        """See `Weighting.init`."""
        del key
        ones = weightings.as_array(dict.fromkeys(self.tasks, 1.0))
        return {}, {"weights": ones, "losses": jax.tree.map(jnp.zeros_like, ones)}

    def combine(self, params, state, losses, labelled, key):
        """See `Weighting.combine`."""
        del params, labelled, key
        weights = state["weights"]
        return sum(weights[task] * losses[task] for task in self.tasks), weights

    def end_epoch(self, state, mean_losses, labelled):
        """New weights; a task that has no two losses to compare counts as one that stands still."""
        before = jnp.stack([state["losses"][task] for task in self.tasks])
        now = jnp.stack([mean_losses[task] for task in self.tasks])
        known = jnp.stack([labelled[task] for task in self.tasks])
        comparable = known & (before > 0)
        ratios = jnp.where(comparable, now / jnp.where(comparable, before, 1.0), 1.0)
        weights = len(self.tasks) * jax.nn.softmax(ratios / self.temperature)
        losses = jnp.where(known, now, before)
        return {
            "weights": dict(zip(self.tasks, weights, strict=True)),
            "losses": dict(zip(self.tasks, losses, strict=True)),
        }


def build(config, tasks) -> DynamicWeightAverage:
    """Builds the weighting with `config.temperature`.

    Raises:
      ConfigError: the temperature is not a positive number.
    """
    if not 0 < config.temperature < float("inf"):
        raise ConfigError(
            f"config.weighting.temperature={config.temperature}; expected a number above 0."
        )
    return DynamicWeightAverage(tasks=tuple(tasks), temperature=float(config.temperature))
