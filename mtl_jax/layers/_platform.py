"""Which devices a program is traced for, where that decides how an operation is written."""

import jax
from jax.extend import backend


def is_cuda() -> bool:
    """Whether what is traced now is for GPUs of NVIDIA's: JAX's default device is one."""
    device = jax.config.jax_default_device  # a device, the name of a platform, or None
    name = device if isinstance(device, str) else getattr(device, "platform", None)
    return "cuda" in backend.get_backend(name).platform_version
