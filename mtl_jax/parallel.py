"""One mesh axis, 'data': batches are split over all devices, state is on each of them."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def make_mesh() -> Mesh:
    """A mesh over all devices of all processes."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


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


def check_batch_size(batch_size: int, *, key: str, accumulate: int = 1) -> None:
    """Raises ValueError unless `batch_size` splits evenly over devices and micro-batches."""
    parts = jax.device_count() * accumulate
    if batch_size % parts:
        micro = f" × {accumulate} micro-batches" if accumulate > 1 else ""
        raise ValueError(
            f"{key}={batch_size} does not divide evenly over {jax.device_count()} devices{micro}. "
            f"Use a multiple of {parts}, for example {-(-batch_size // parts) * parts}."
        )
