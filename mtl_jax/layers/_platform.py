"""Which devices a program is traced for, where that decides how an operation is written."""

import jax


def cuda_capability() -> float:
    """The compute capability of the GPU of NVIDIA's that is traced for; 0 if it is no such one.

    It is traced for JAX's default device: programs that are for others, too, such as exported ones,
    are traced `with jax.default_device(<one of the CPU's>)`.
    """
    device = jax.config.jax_default_device  # a device, the name of a platform, or None
    if device is None or isinstance(device, str):
        device = jax.devices(device)[0]
    if "cuda" not in device.client.platform_version:
        return 0.0
    return float(device.compute_capability)


def is_cuda() -> bool:
    """Whether what is traced now is for GPUs of NVIDIA's."""
    return cuda_capability() > 0
