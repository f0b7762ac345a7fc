"""Blocks that are computed twice: the same gradient of less memory."""

import dataclasses

import jax
import jax.numpy as jnp
import mixed_systems
import numpy as np
import pytest
from flax import linen as nn
from jax.extend.core import jaxprs_in_params

from mtl_jax import architectures, layers
from mtl_jax.encoders import swin
from mtl_jax.sharing import Cut, Split, _recomputed, task_losses


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


@pytest.fixture
def system(monkeypatch):
    monkeypatch.setattr(mixed_systems, "Network", Network)
    return mixed_systems.build(mixed_systems.config())


def gradient_and_kept(function, params):
    """What a function, {...} ─► (outputs, aux), and its gradient are; the numbers kept for it."""
    kept = []

    def compute(params):
        outputs, pullback, aux = jax.vjp(function, params, has_aux=True)
        kept.append(sum(array.size for array in jax.tree.leaves(pullback)))
        return outputs, aux, pullback(jax.tree.map(jnp.ones_like, outputs))

    return jax.jit(compute)(params), *kept


def assert_same_of_less(plain, recomputed):
    (expected, kept), (found, kept_less) = plain, recomputed
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), expected, found
    )
    assert kept_less < 0.5 * kept


@pytest.mark.slow
def test_blocks_are_computed_twice_and_not_kept(system):
    batch, key = mixed_systems.batch(0, 4), jax.random.key(7)
    variables = system.init(jax.random.key(0), batch["image"].shape[1:3])

    def results(remat):
        chosen = dataclasses.replace(system, remat=remat)

        def losses(params):
            found, _, stats = task_losses(chosen, params, variables["batch_stats"], batch, key)
            return sum(found.values()), stats

        return gradient_and_kept(losses, variables["params"])

    assert_same_of_less(results(False), results(True))


class Staged(nn.Module):
    """A network of a Swin alone, whose blocks lie in stages."""

    remat: bool

    @nn.compact
    def __call__(self, image):
        encoder = swin.Swin(32, (2, 1, 1, 1), 2, remat=self.remat, name="encoder")
        return encoder(image, train=True).features


def products(jaxpr) -> int:
    """How many matrix products a program makes."""
    return sum(
        (found.primitive.name == "dot_general") + sum(map(products, jaxprs_in_params(found.params)))
        for found in jaxpr.eqns
    )


def test_blocks_of_stages_are_computed_twice_and_not_thrice():
    """With `encoder.remat`, too: it computes a block again that `train.remat` has the ends of."""
    image = jnp.zeros((1, 32, 32, 3))
    params = jax.eval_shape(Staged(False).init, jax.random.key(0), image)

    def count(encoder_remat: bool, remat: bool) -> int:
        network = Staged(encoder_remat).apply
        network = _recomputed(network) if remat else network

        def loss(params):
            return sum(map(jnp.sum, network(params, image).values()))

        return products(jax.make_jaxpr(jax.grad(loss))(params).jaxpr)

    assert count(True, True) == count(False, True) > count(False, False)


def test_so_are_those_before_the_features_whose_gradients_are_combined(system):
    batch, key = mixed_systems.batch(0, 4), jax.random.key(7)
    variables = system.init(jax.random.key(0), mixed_systems.SIZE)
    split = Split(system, variables, mixed_systems.SIZE)

    def results(remat):
        chosen = dataclasses.replace(system, remat=remat)
        cut = Cut(chosen, split, variables, mixed_systems.SIZE)

        def features(params):
            image = chosen.normalize(batch["image"])
            return cut.features(params, variables["batch_stats"], image, key)

        return gradient_and_kept(features, variables["params"])

    assert_same_of_less(results(False), results(True))
