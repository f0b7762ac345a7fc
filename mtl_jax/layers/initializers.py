"""Initialisers of kernels and biases, by the names that configs use."""

import functools

import jax
import jax.numpy as jnp
from jax.nn import initializers

from mtl_jax.errors import ConfigError


def traced_once(init: initializers.Initializer) -> initializers.Initializer:
    """The same initialiser, whose drawing JAX traces once for each shape and remembers.

    Flax calls an initialiser for every parameter that it makes, and traces it anew, to compare
    shapes, for every one that is read: without this, up to a third of a network's tracing.
    """
    return jax.jit(init, static_argnums=(1, 2))


# Fans count the receptive field: fan_in = k·k·c_in, fan_out = k·k·c_out.
INITIALIZERS = {
    # U(−1/√fan_in, 1/√fan_in), what PyTorch gives convolutions and linear layers unasked.
    "pytorch": traced_once(initializers.variance_scaling(1 / 3, "fan_in", "uniform")),
    "kaiming_normal_fan_in": traced_once(initializers.variance_scaling(2.0, "fan_in", "normal")),
    "kaiming_normal_fan_out": traced_once(initializers.variance_scaling(2.0, "fan_out", "normal")),
    "xavier_normal": traced_once(initializers.variance_scaling(1.0, "fan_avg", "normal")),
    "normal": traced_once(initializers.normal(0.01)),
    "truncated_normal": traced_once(initializers.truncated_normal(0.01)),  # cut at two deviations
    "transformer": traced_once(initializers.truncated_normal(0.02)),  # likewise; of linear layers
    "zeros": initializers.zeros,
}


def initializer(name: str) -> initializers.Initializer:
    """The kernel initialiser of that name.

    Raises:
      ConfigError: there is none; the message lists the names.
    """
    if name not in INITIALIZERS:
        raise ConfigError(f"Initialiser {name!r} is unknown; known are {', '.join(INITIALIZERS)}.")
    return INITIALIZERS[name]


def bias_initializer(name: str, fan_in: int) -> initializers.Initializer:
    """'zeros', or 'pytorch': U(−1/√fan_in, 1/√fan_in), whose range is that of the kernel.

    Raises:
      ConfigError: another name.
    """
    if name == "zeros":
        return initializers.zeros
    if name != "pytorch":
        raise ConfigError(f"Bias initialiser {name!r} is unknown; known are pytorch, zeros.")
    return _uniform(fan_in**-0.5)


@functools.cache
def _uniform(bound: float) -> initializers.Initializer:
    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return traced_once(init)
