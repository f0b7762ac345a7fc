"""Encoders: image [B, H, W, 3] ─► {stride: features [B, h, w, c]}, one module each."""

import sys

import jax.numpy as jnp
from flax import linen as nn

from mtl_jax import _discovery

# Key of the features that a decoder's skip connection reads: an encoder's first stage, stride 4.
# It is an entry of its own because a dilated later stage of the same stride overwrites entry 4.
SKIP = 0


def build(config, *, dtype=jnp.float32) -> nn.Module:
    """Builds the encoder that `config.name` names.

    Args:
      config: `config.model.encoder`; `name` is a module of this package, the rest its options.
      dtype: compute type; parameters stay float32.

    Returns:
      A Linen module whose `__call__(image, *, train)` takes a normalised image [B, H, W, 3] and
      returns {stride: features}; of several stages with the same stride the last one is kept, so
      the entry of the largest stride is the encoder's output. Encoders that have features for a
      decoder's skip connection give them under `SKIP` besides.

    Raises:
      ValueError: no encoder has that name, or an option of it has an impossible value.
    """
    module = _discovery.load(sys.modules[__name__], config.name, key="config.model.encoder.name")
    return module.build(config, dtype=dtype)
