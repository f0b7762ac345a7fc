"""Adam (Kingma & Ba, ICLR 2015), with weight decay in the gradient, as PyTorch's Adam."""

import optax

from mtl_jax._options import Option, number, rate

OPTIONS = {
    "beta1": Option(0.9, "decay of the mean of gradients", rate),
    "beta2": Option(0.999, "decay of the mean of squared gradients", rate),
    "epsilon": Option(1e-8, "added to the root of the latter", number(above=0)),
}


def build(options, decay: optax.GradientTransformation):
    """Decay ─► moments."""
    return decay, moments(options)


def moments(options) -> optax.GradientTransformation:
    """The mean of gradients over the root of that of squared gradients."""
    return optax.scale_by_adam(b1=options.beta1, b2=options.beta2, eps=options.epsilon)
