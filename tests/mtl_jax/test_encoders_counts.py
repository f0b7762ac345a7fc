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


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"size": "T"}, 5_524_416),
        ({"size": "S"}, 21_665_664),
        ({"size": "B"}, 85_798_656),
        ({"size": "L"}, 303_301_632),
        ({"size": "L", "table": (24, 24)}, 303_690_752),
        ({"size": "S", "variant": "dinov2"}, 22_056_576),
        ({"size": "B", "variant": "dinov2"}, 86_580_480),
        ({"size": "L", "variant": "dinov2"}, 304_368_640),
        ({"size": "S", "variant": "dinov2_reg"}, 22_058_112),
        ({"size": "B", "variant": "dinov2_reg"}, 86_583_552),
        ({"size": "L", "variant": "dinov2_reg"}, 304_372_736),
    ],
)
def test_vit(options, expected):
    """Published files without the classifier; of DINOv2 with the token that nothing reads."""
    model = encoders.make("vit", **options)
    assert count(model, (2 * model.patch, 3 * model.patch)) == expected


def test_hrnet():
    assert count(encoders.make("hrnet")) == 3_860_720
