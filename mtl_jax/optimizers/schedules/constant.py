"""lr₀ throughout."""

import optax

OPTIONS = {}
OPEN_ENDED = True


def build(options, *, base: float, steps_per_epoch: int, total_steps: int):
    """See `mtl_jax.optimizers.schedules`."""
    del options, steps_per_epoch, total_steps
    return optax.constant_schedule(base)
