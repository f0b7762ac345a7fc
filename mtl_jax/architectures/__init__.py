"""Architectures: image ─► one prediction per task, one module each. They know no loss."""

import sys
from collections.abc import Mapping

import flax.struct
import jax
from flax import linen as nn

from mtl_jax import _discovery
from mtl_jax.errors import ConfigError


@flax.struct.dataclass
class Predictions:
    """What every architecture returns.

    Attributes:
      final: {task: [B, H, W, C]} float32 at the input's resolution: logits, or values in the
        task's own normalised units.
      auxiliary: earlier predictions of the same form, for deep supervision; possibly empty.
    """

    final: dict[str, jax.Array]
    auxiliary: tuple[dict[str, jax.Array], ...] = ()


def build(config, channels: Mapping[str, int]) -> nn.Module:
    """Builds the architecture that `config.architecture` names.

    Args:
      config: `config.model`.
      channels: number of output channels of each task, in the order in which the tasks are to be
        kept, e.g. `{'semseg': 19, 'depth': 1}`.

    Returns:
      A Linen module whose `__call__(image, *, train)` takes a normalised image [B, H, W, 3] and
      returns `Predictions`.

    Raises:
      ConfigError: no architecture has that name, no task is given, or an option is impossible.
    """
    if not channels:
        raise ConfigError("An architecture needs at least one task; config.tasks is empty.")
    module = _discovery.load(
        sys.modules[__name__], config.architecture, key="config.model.architecture"
    )
    return module.build(config, dict(channels))
