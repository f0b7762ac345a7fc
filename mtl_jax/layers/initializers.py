"""Initialisers of kernels and biases, by the names that configs use."""

import jax
import jax.numpy as jnp
from jax.nn import initializers

from mtl_jax.errors import ConfigError

# Fans count the receptive field: fan_in = k·k·c_in, fan_out = k·k·c_out.
INITIALIZERS = {
    # U(−1/√fan_in, 1/√fan_in), what PyTorch gives convolutions and linear layers unasked.
    "pytorch": initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
    "kaiming_normal_fan_in": initializers.variance_scaling(2.0, "fan_in", "normal"),
    "kaiming_normal_fan_out": initializers.variance_scaling(2.0, "fan_out", "normal"),
    "xavier_normal": initializers.variance_scaling(1.0, "fan_avg", "normal"),
    "truncated_normal": initializers.truncated_normal(0.01),  # cut off at two deviations
    "transformer": initializers.truncated_normal(0.02),  # likewise; of their linear layers
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
    bound = fan_in**-0.5

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init
