"""Gradient descent with heavy-ball momentum; PyTorch's, without dampening."""

import optax

from mtl_jax._options import Option, rate

OPTIONS = {"momentum": Option(0.9, "share of the last step that is kept", rate)}


def build(options, decay: optax.GradientTransformation):
    """Decay ─► momentum."""
    return decay, optax.trace(decay=options.momentum)
