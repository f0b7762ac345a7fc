"""Adam with decoupled weight decay (Loshchilov & Hutter, ICLR 2019)."""

import optax

from mtl_jax.optimizers.rules import adam

OPTIONS = adam.OPTIONS


def build(options, decay: optax.GradientTransformation):
    """Moments ─► decay."""
    return adam.moments(options), decay
