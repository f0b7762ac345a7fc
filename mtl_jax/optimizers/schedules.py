"""Learning rates as functions of the number of updates made so far."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from mtl_jax.errors import ConfigError

Schedule = Callable[[jax.Array | int], jax.Array]


SCHEDULES = ("constant", "step", "cosine", "polynomial")


def make_schedule(config, *, steps_per_epoch: int, total_steps: int) -> Schedule:
    """Learning rate as a function of the number of updates made so far.

    Args:
      config: `config.schedule`: `name`, `warmup_epochs`, and for 'step' `every_epochs` and
        `factor`, for 'polynomial' `power`. The base rate is `config.learning_rate`.
      steps_per_epoch: updates in an epoch.
      total_steps: updates in the whole run.

    Returns:
      A traceable function of the step:
        constant: lr0
        step: lr0 · factor^⌊epoch / every_epochs⌋ (report C)
        cosine: lr0 · ½ (1 + cos(π t / T)), closed form over updates (report D)
        polynomial: lr0 · max(1e-6, (1 − epoch / epochs)^power), per epoch (reports A, B)
      with a linear rise from 0 over the first `warmup_epochs`.

    Raises:
      ConfigError: unknown name, or a rate that is negative or not finite.
    """
    base = float(config.learning_rate)
    epochs = total_steps / steps_per_epoch

    def epoch(step):
        return jnp.asarray(step // steps_per_epoch, jnp.float32)

    def decayed(step):
        if config.name == "constant":
            return jnp.full((), base, jnp.float32)
        if config.name == "step":
            return base * config.factor ** jnp.floor(epoch(step) / config.every_epochs)
        if config.name == "cosine":
            return base * 0.5 * (1 + jnp.cos(jnp.pi * step / total_steps))
        return base * jnp.maximum(1e-6, (1 - epoch(step) / epochs) ** config.power)

    if config.name not in SCHEDULES:
        raise ConfigError(
            f"config.schedule.name={config.name!r}; expected one of {', '.join(SCHEDULES)}."
        )
    if not 0 <= base < math.inf:
        raise ConfigError(
            f"config.schedule.learning_rate={base}; expected a finite number, 0 or more."
        )
    warmup_steps = config.warmup_epochs * steps_per_epoch

    def schedule(step):
        rise = jnp.minimum(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
        return jnp.asarray(decayed(step) * rise, jnp.float32)

    return schedule
