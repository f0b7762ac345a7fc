"""Gates between experts that are whole encoders (Ma et al. 2018, Tang et al. 2020).

The papers gate vectors of fixed length. Here a gate sees each expert's features averaged over the
image, so that images may have any size; this is this project's reading.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from mtl_jax import layers
from mtl_jax.layers import broadcast


class Gate(nn.Module):
    """softmax(linear(the experts' features, averaged over the image, side by side))."""

    @nn.compact
    def __call__(self, maps: list[jax.Array]) -> jax.Array:
        """E maps [B, h, w, C] ─► [B, E] float32 weights that sum to 1."""
        means = [x.astype(jnp.float32).mean((1, 2)) for x in maps]
        seen = jnp.concatenate(means, axis=-1)
        # Not from zero: experts that start from the same published weights would stay equal.
        linear = nn.Dense(len(maps), kernel_init=layers.initializer("pytorch"), name="linear")
        return jax.nn.softmax(linear(seen), axis=-1)


def mixed(maps: Sequence[jax.Array], weights: jax.Array) -> jax.Array:
    """Σ_e w_e · x_e of E arrays [B, ...], with weights [B, E]."""
    ones = (1,) * (maps[0].ndim - 1)
    each = enumerate(maps)
    return sum(broadcast.multiply(x, weights[:, index].reshape(-1, *ones)) for index, x in each)
