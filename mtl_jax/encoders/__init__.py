"""Encoders: image [B, H, W, 3] ─► `Pyramid` of features, one module each."""

import sys
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from mtl_jax import _discovery, _options
from mtl_jax.encoders._pyramid import Pyramid, Tokens

__all__ = ["PART", "Pyramid", "Tokens", "build", "make"]


PART = _options.Part(
    sys.modules[__name__], "resnet", "the network that turns an image into features"
)
_KEY = "config.model.encoder"


def build(config: Mapping[str, Any], *, dtype=jnp.float32) -> nn.Module:
    """Builds the encoder that `config["name"]` names.

    Args:
      config: `config.model.encoder`; `name` is a module of this package, the rest its options,
        which are declared there. Those that are missing have their defaults.
      dtype: compute type; parameters stay float32.

    Returns:
      A Linen module whose `__call__(image, *, train)` takes a normalised image [B, H, W, 3] and
      returns a `Pyramid`.

    Raises:
      ConfigError: no encoder has that name, or an option is unknown or impossible.
    """
    options = _options.complete_part(config, PART, key=_KEY)
    module = _discovery.load(sys.modules[__name__], options.pop("name"), key=f"{_KEY}.name")
    return module.build(ConfigDict(options), dtype=dtype)


def make(name: str, *, dtype=jnp.float32, **options: Any) -> nn.Module:
    """`build` without a config: `encoders.make("resnet", depth=34)`."""
    return build({"name": name, **options}, dtype=dtype)
