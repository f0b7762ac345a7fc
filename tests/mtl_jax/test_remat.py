"""Blocks that are computed twice: the same gradient of less memory."""

import dataclasses

import jax
import jax.numpy as jnp
import mixed_systems
import numpy as np
import pytest
from flax import linen as nn

from mtl_jax import architectures, layers
from mtl_jax.sharing import task_losses


class Network(nn.Module):
    """An encoder of three blocks of three convolutions, with dropout, and a head for each task."""

    channels: dict[str, int]
    dtype: str = "float32"

    @nn.compact
    def __call__(self, image, *, train):
        x = Encoder(name="encoder")(image, train=train)
        return architectures.Predictions(
            final={t: layers.Conv(n, 1, name=f"head_{t}")(x) for t, n in self.channels.items()}
        )


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        for index in range(3):
            x = Block(name=f"block{index}")(x, train=train)
        return x


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        for index in range(3):
            x = layers.ConvBNReLU(6, name=f"conv{index}")(x, train=train)
        return nn.Dropout(0.3, deterministic=not train)(x)


@pytest.mark.slow
def test_blocks_are_computed_twice_and_not_kept(monkeypatch):
    monkeypatch.setattr(mixed_systems, "Network", Network)
    system = mixed_systems.build(mixed_systems.config())
    batch, key = mixed_systems.batch(0, 4), jax.random.key(7)
    variables = system.init(jax.random.key(0), batch["image"].shape[1:3])

    def results(remat):
        chosen, kept = dataclasses.replace(system, remat=remat), []

        def losses(params):
            found, _, stats = task_losses(chosen, params, variables["batch_stats"], batch, key)
            return sum(found.values()), stats

        def compute(params):
            loss, pullback, stats = jax.vjp(losses, params, has_aux=True)
            kept.append(sum(array.size for array in jax.tree.leaves(pullback)))
            return loss, stats, pullback(jnp.float32(1))

        return jax.jit(compute)(variables["params"]), *kept

    (plain, kept), (recomputed, kept_less) = results(False), results(True)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), plain, recomputed
    )
    assert kept_less < 0.5 * kept
