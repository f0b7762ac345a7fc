"""Architectures: image ─► one prediction per task, one module each. They know no loss."""

import sys
from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
from flax import linen as nn
from ml_collections import ConfigDict

from mtl_jax import _discovery, _options
from mtl_jax._options import Option, each, number, one_of, text
from mtl_jax.errors import ConfigError


def _per_channel(check_one):
    """Three values, or none at all."""
    check = each(check_one, length=3)
    return lambda value: None if value == () else check(value)


COMMON = {
    "image_mean": Option(
        (),
        "per channel, for pixels in [0, 1]; () as the encoder's published weights expect",
        _per_channel(number(least=-1e6, most=1e6)),
    ),
    "image_std": Option(
        (),
        "per channel, for pixels in [0, 1]; () as the encoder's published weights expect",
        _per_channel(number(above=0, most=1e6)),
    ),
    "dtype": Option(
        "float32", "what is computed in; parameters stay float32", one_of("float32", "bfloat16")
    ),
    "pretrained": Option(
        "", "work directory, .pth or .safetensors file, or name of weights to start from", text
    ),
    "pretrained_scope": Option(
        "encoder", "what is taken of them: 'encoder' or 'all'", one_of("encoder", "all")
    ),
}
PART = _options.Part(sys.modules[__name__], "", "the network", by="architecture")


@flax.struct.dataclass
class Predictions:
    """What every architecture returns.

    Attributes:
      final: {task: [B, H, W, C]} float32 at the input's resolution: logits, or values in the
        task's own normalised units.
      auxiliary: earlier predictions of the same form, for deep supervision; possibly empty.
      penalties: {name: float32 scalar}, what the network itself adds to the loss in training; no
        weighting changes it. A network that has some says their names in its `penalties`.
    """

    final: dict[str, jax.Array]
    auxiliary: tuple[dict[str, jax.Array], ...] = ()
    penalties: dict[str, jax.Array] = flax.struct.field(default_factory=dict)


def build(config: Mapping[str, Any], channels: Mapping[str, int]) -> nn.Module:
    """Builds the architecture that `config["architecture"]` names.

    Args:
      config: `config.model`. Options that are missing have their defaults.
      channels: number of output channels of each task, in the order in which the tasks are to be
        kept, e.g. `{'semseg': 19, 'depth': 1}`.

    Returns:
      A Linen module whose `__call__(image, *, train)` takes a normalised image [B, H, W, 3] and
      returns `Predictions`.

    Raises:
      ConfigError: no architecture has that name, no task is given, or an option is unknown or
        impossible.
    """
    if not channels:
        raise ConfigError("An architecture needs at least one task; config.tasks is empty.")
    options = _options.complete_part(config, PART, key="config.model")
    name = options.pop(PART.by)
    module = _discovery.load(sys.modules[__name__], name, key=f"config.model.{PART.by}")
    return module.build(ConfigDict(options), dict(channels))


def make(name: str, channels: Mapping[str, int], **options: Any) -> nn.Module:
    """`build` without a config: `make("joint", {"depth": 1}, encoder={"name": "vgg"})`."""
    return build({PART.by: name, **options}, channels)
