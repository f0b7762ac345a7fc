"""Parameters of published encoders, exactly."""

import jax
import jax.numpy as jnp
import pytest

from mtl_jax import encoders


def count(model, size=(64, 96)) -> int:
    shapes = jax.eval_shape(
        lambda x: model.init(jax.random.key(0), x, train=False), jnp.zeros((1, *size, 3))
    )
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


@pytest.mark.parametrize(
    ("size", "window", "features", "norms"),
    [
        ("T", 7, 27_519_354, 1_344),
        ("S", 7, 48_837_258, 1_344),
        ("B", 12, 86_878_584, 1_792),
        ("L", 12, 195_198_516, 2_688),
    ],
)
def test_swin(size, window, features, norms):
    """The features with the final norm, and the three stages' own norms."""
    assert count(encoders.make("swin", size=size, window=window)) == features + norms


def test_hrnet():
    assert count(encoders.make("hrnet")) == 3_860_720
