"""lr₀ · ½ (1 + cos(π t / T)) over updates, in closed form (report D)."""

import optax

OPTIONS = {}


def build(options, *, base: float, steps_per_epoch: int, total_steps: int):
    """See `mtl_jax.optimizers.schedules`."""
    del options, steps_per_epoch
    return optax.cosine_decay_schedule(base, total_steps)
