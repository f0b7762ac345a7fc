"""One mesh axis, 'data': batches are split over all devices, state is on each of them."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mtl_jax.errors import ConfigError


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh over `devices`, by default all devices of all processes."""
    devices = jax.devices() if devices is None else devices
    auto = (AxisType.Auto,)
    return jax.make_mesh((len(devices),), ("data",), axis_types=auto, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of state: a whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of batches: the leading axis is split."""
    return NamedSharding(mesh, PartitionSpec("data"))


def put_batch(mesh: Mesh, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Makes global arrays of this process's slice of a batch."""
    sharding = batch_sharding(mesh)
    return {
        key: jax.make_array_from_process_local_data(sharding, value) for key, value in batch.items()
    }


def steps_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of what several steps need: their axis comes first, then that of batches."""
    return NamedSharding(mesh, PartitionSpec(None, "data"))


def put_batches(mesh: Mesh, batches: Sequence[Any], length: int) -> Any:
    """Makes global arrays [length, batch, ...] of this process's slices of several batches.

    Where they are fewer than `length`, the last one is repeated.
    """
    batches = [*batches, *[batches[-1]] * (length - len(batches))]
    sharding = steps_sharding(mesh)

    def put(*values):
        return jax.make_array_from_process_local_data(sharding, np.stack(values))

    return jax.tree.map(put, *batches)


def check_batch_size(batch_size: int, mesh: Mesh, *, key: str, accumulate: int = 1) -> None:
    """Raises ConfigError unless `batch_size` splits evenly over devices and micro-batches."""
    if accumulate < 1:
        raise ConfigError(
            f"config.train.accumulate={accumulate}; expected 1 or more micro-batches."
        )
    parts = mesh.size * accumulate
    if batch_size % parts:
        micro = f" × {accumulate} micro-batches" if accumulate > 1 else ""
        raise ConfigError(
            f"{key}={batch_size} does not divide evenly over {mesh.size} devices{micro}. "
            f"Use a multiple of {parts}, for example {-(-batch_size // parts) * parts}."
        )
