"""Constant weights: total = Σ w_i L_i."""

import dataclasses

from mtl_jax import weightings
from mtl_jax._options import Option
from mtl_jax.errors import ConfigError

OPTIONS = {"weights": Option({}, "{task: weight}; none at all means 1 each")}


@dataclasses.dataclass(frozen=True)
class Fixed(weightings.Weighting):
    """Constant weights.

    Attributes:
      weights: one number per task, in the order of `tasks`.
    """

    weights: tuple[float, ...] = ()

    def combine(self, params, state, losses, labelled, key):
        """See `Weighting.combine`."""
        del params, state, labelled, key
        weights = weightings.as_array(dict(zip(self.tasks, self.weights, strict=True)))
        return sum(weights[task] * losses[task] for task in self.tasks), weights


def build(config, tasks) -> Fixed:
    """Builds the weighting from `config.weights`, {task: number}; missing altogether means 1 each.

    Raises:
      ConfigError: the weights' tasks are not the run's tasks, or a weight is negative.
    """
    given = dict(config.get("weights") or dict.fromkeys(tasks, 1.0))
    if set(given) != set(tasks):
        raise ConfigError(
            f"config.weighting.weights names the tasks {sorted(given)}, "
            f"but config.tasks has {sorted(tasks)}. Give each of these one weight."
        )
    negative = {task: weight for task, weight in given.items() if not weight >= 0}
    if negative:
        raise ConfigError(f"config.weighting.weights must be 0 or more; found {negative}.")
    return Fixed(tasks=tuple(tasks), weights=tuple(float(given[task]) for task in tasks))
