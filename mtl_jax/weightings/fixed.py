"""Constant weights: total = Σ w_k L_k."""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.errors import ConfigError
from mtl_jax.weightings._base import Weighting

_WEIGHT = _options.number(least=0)


def _check(weights) -> str | None:
    if not isinstance(weights, Mapping) or any(map(_WEIGHT, weights.values())):
        return f"{{task: weight}} or none at all, each weight {_WEIGHT(None)}"
    return None


def _check_names(given, tasks, key: str, tasks_key: str) -> None:
    """Raises ConfigError if weights are given, but not of each task alone."""
    if given and set(given) != set(tasks):
        raise ConfigError(
            f"{key} names the tasks {sorted(given)}, "
            f"but {tasks_key} has {sorted(tasks)}. Give each of these one weight."
        )


@dataclasses.dataclass(frozen=True)
class Fixed(Weighting):
    """Constant weights.

    >>> method = Fixed(("semseg", "depth"), weights=(0.7, 0.3))
    >>> total, weights = method.total({}, {}, jnp.array([1.0, 2.0]), jnp.array([True, True]), None)
    >>> print(f"{total:.2f} {weights}")
    1.30 [0.7 0.3]

    Attributes:
      weights: {task: number}, or the numbers in the order of `tasks`; none at all means 1 each.
    """

    linear = True

    weights: Mapping[str, float] | tuple[float, ...] = _options.option(
        {}, "{task: weight}; none = 1 each", _check
    )

    def __post_init__(self):
        given = self.weights
        if not isinstance(given, Mapping):
            if len(given) not in (0, len(self.tasks)):
                raise ConfigError(
                    f"Fixed.weights={given}; expected {len(self.tasks)} weights, one for each of "
                    f"{', '.join(self.tasks)}, or none at all."
                )
            given = dict(zip(self.tasks, given, strict=False))
        _check_names(given, self.tasks, "Fixed.weights", "tasks")
        object.__setattr__(self, "weights", given)
        super().__post_init__()
        # As a tuple the method can be hashed, as others can.
        object.__setattr__(self, "weights", tuple(given[task] for task in self.tasks if given))

    @classmethod
    def fields_of(cls, options, tasks):
        """See `Weighting.fields_of`: the weights' tasks are to be the run's."""
        given = dict(options["weights"] or dict.fromkeys(tasks, 1.0))
        _check_names(given, tasks, "config.weighting.weights", "config.tasks")
        return {"weights": tuple(float(given[task]) for task in tasks)}

    def total(self, params, state, losses, labelled, key):
        """See `Weighting.total`."""
        del params, state, labelled, key
        weights = jnp.array(self.weights or (1.0,) * len(self.tasks), jnp.float32)
        return sum(weights * losses), weights
