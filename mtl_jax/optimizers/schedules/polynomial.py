"""lr₀ · max(10⁻⁶, (1 − epoch / epochs)^power), per epoch (reports A and B)."""

import jax.numpy as jnp

from mtl_jax._options import Option, number
from mtl_jax.optimizers import schedules

OPTIONS = {"power": Option(0.9, "1 is a straight line", number(least=0))}
_LEAST = 1e-6


def build(options, *, base: float, steps_per_epoch: int, total_steps: int):
    """See `mtl_jax.optimizers.schedules`."""
    epochs = total_steps / steps_per_epoch

    def schedule(step):
        left = 1 - schedules.epochs_of(step, steps_per_epoch) / epochs
        return base * jnp.maximum(_LEAST, left**options.power)

    return schedule
