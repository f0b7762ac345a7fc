"""A network of some hundred parameters for tests of what is around networks.

It is smooth, so that what rounding changes stays as small as it was, and compiles in a moment.
"""

import jax.numpy as jnp
import pytest
from flax import linen as nn

from mtl_jax import architectures, layers


class Block(nn.Module):
    """3×3 convolution with bias ─► BatchNorm ─► tanh ─► 1×1 convolution with bias."""

    features: int
    dtype: jnp.dtype
    hidden: int = 5

    @nn.compact
    def __call__(self, x, *, train):
        x = layers.Conv(self.hidden, 3, use_bias=True, dtype=self.dtype, name="conv1")(x)
        x = nn.tanh(layers.BatchNorm(dtype=self.dtype, name="bn1")(x, train=train))
        return layers.Conv(self.features, 1, use_bias=True, dtype=self.dtype, name="conv2")(x)


class Network(nn.Module):
    """One shared block, and one of its own for each task."""

    channels: dict[str, int]
    dtype: jnp.dtype = jnp.float32
    hidden: int = 5  # of the tasks' blocks

    @nn.compact
    def __call__(self, image, *, train):
        x = Block(6, self.dtype, name="encoder")(image, train=train)
        heads = {
            task: Block(outputs, self.dtype, self.hidden, name=f"head_{task}")
            for task, outputs in self.channels.items()
        }
        return architectures.Predictions(
            final={t: head(x, train=train).astype(jnp.float32) for t, head in heads.items()}
        )


def build(config, channels) -> Network:
    """In place of `architectures.build`; as wide as `config.decoder.channels` says."""
    return Network(channels, hidden=config.get("decoder", {}).get("channels", 5))


def in_every_run():
    """A fixture for a test module: whatever architecture a config names, this network is built."""

    @pytest.fixture(scope="module", autouse=True)
    def toy_network():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(architectures, "build", build)
            yield

    return toy_network
