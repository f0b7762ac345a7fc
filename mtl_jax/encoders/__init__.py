"""Encoders: image [B, H, W, 3] ─► `Pyramid` of features, one module each."""

import sys

import jax.numpy as jnp
from flax import linen as nn

from mtl_jax import _discovery
from mtl_jax.encoders._pyramid import Pyramid, Tokens

__all__ = ["Pyramid", "Tokens", "build"]


def build(config, *, dtype=jnp.float32) -> nn.Module:
    """Builds the encoder that `config.name` names.

    Args:
      config: `config.model.encoder`; `name` is a module of this package, the rest its options.
      dtype: compute type; parameters stay float32.

    Returns:
      A Linen module whose `__call__(image, *, train)` takes a normalised image [B, H, W, 3] and
      returns a `Pyramid`.

    Raises:
      ValueError: no encoder has that name, or an option of it has an impossible value.
    """
    module = _discovery.load(sys.modules[__name__], config.name, key="config.model.encoder.name")
    return module.build(config, dtype=dtype)
