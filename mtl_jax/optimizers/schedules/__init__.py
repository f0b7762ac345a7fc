"""Schedules: the learning rate as a function of the updates made so far, one module each.

A module has `OPTIONS` and `build(options, *, base, steps_per_epoch, total_steps)`, which returns a
traceable function of the step; and `OPEN_ENDED = True` if the rate of a step is the same however
many follow, so that a run may be made longer. What all have in common, the base rate and a linear
rise to it, is here.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mtl_jax import _discovery, _options
from mtl_jax._options import Option, number

Schedule = Callable[[jax.Array | int], jax.Array]

COMMON = {
    "learning_rate": Option(0.01, "the base rate", number(least=0)),
    "warmup_epochs": Option(0.0, "of a linear rise from 0 to the schedule", number(least=0)),
}
PART = _options.Part(sys.modules[__name__], "polynomial", "how the learning rate changes")
_KEY = "config.schedule"


def is_open_ended(config: Mapping[str, Any]) -> bool:
    """Whether the rate of a step is the same however many steps follow; of `config.schedule`."""
    module = _discovery.load(sys.modules[__name__], config[PART.by], key=f"{_KEY}.{PART.by}")
    return getattr(module, "OPEN_ENDED", False)


def make_schedule(config: Mapping[str, Any], *, steps_per_epoch: int, total_steps: int) -> Schedule:
    """The schedule that `config["name"]` names.

    Args:
      config: `config.schedule`. Options that are missing have their defaults.
      steps_per_epoch: updates in an epoch.
      total_steps: updates in the whole run.

    Returns:
      A traceable function of the step ─► float32 scalar.

    Raises:
      ConfigError: no schedule has that name, or an option is unknown or impossible.
    """
    options = _options.complete_part(config, PART, key=_KEY)
    module = _discovery.load(sys.modules[__name__], options.pop(PART.by), key=f"{_KEY}.{PART.by}")
    options = ConfigDict(options)
    decayed = module.build(
        options,
        base=options.learning_rate,
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
    )
    warmup_steps = options.warmup_epochs * steps_per_epoch

    def schedule(step):
        rise = jnp.minimum(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
        return jnp.asarray(decayed(step) * rise, jnp.float32)

    return schedule


def epochs_of(step: jax.Array | int, steps_per_epoch: int) -> jax.Array:
    """The epochs that are over at a step, float32."""
    return jnp.asarray(step // steps_per_epoch, jnp.float32)
