"""lr₀ · max(10⁻⁶, (1 − t)^power), t the share of the run that is over.

It falls with every epoch (reports A and B, Vandenhende et al.'s survey) or with every step (InvPT).
"""

import jax.numpy as jnp

from mtl_jax._options import Option, number, one_of
from mtl_jax.optimizers import schedules

OPTIONS = {
    "power": Option(0.9, "1 is a straight line", number(least=0)),
    "every": Option(
        "epoch", "when it falls: with each 'epoch' or each 'step'", one_of("epoch", "step")
    ),
}
_LEAST = 1e-6


def build(options, *, base: float, steps_per_epoch: int, total_steps: int):
    """See `mtl_jax.optimizers.schedules`."""
    if options.every == "step":
        steps_per_epoch = 1
    epochs = total_steps / steps_per_epoch

    def schedule(step):
        left = 1 - schedules.epochs_of(step, steps_per_epoch) / epochs
        return base * jnp.maximum(_LEAST, left**options.power)

    return schedule
