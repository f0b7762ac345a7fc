"""lr₀ · factor^⌊epoch / every_epochs⌋ (report C)."""

import jax.numpy as jnp

from mtl_jax._options import Option, number
from mtl_jax.optimizers import schedules

OPTIONS = {
    "every_epochs": Option(25.0, "epochs between two steps", number(above=0)),
    "factor": Option(0.5, "by which a step multiplies the rate", number(least=0)),
}
OPEN_ENDED = True


def build(options, *, base: float, steps_per_epoch: int, total_steps: int):
    """See `mtl_jax.optimizers.schedules`."""
    del total_steps

    def schedule(step):
        epochs = schedules.epochs_of(step, steps_per_epoch)
        return base * options.factor ** jnp.floor(epochs / options.every_epochs)

    return schedule
