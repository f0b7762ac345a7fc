"""Parameters of published encoders, exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import published_networks as networks
import pytest
import traced

from mtl_jax import encoders


def count(model, size=(64, 96)) -> int:
    shapes = traced.shapes(
        lambda x: model.init(jax.random.key(0), x, train=False), jnp.zeros((1, *size, 3))
    )
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


@pytest.mark.parametrize(
    ("size", "window", "features", "norms"),
    [
        ("T", 7, 27_519_354, 1_344),
        pytest.param("S", 7, 48_837_258, 1_344, marks=pytest.mark.weekly),
        pytest.param("B", 7, 86_743_224, 1_792, marks=pytest.mark.slow),
        ("B", 12, 86_878_584, 1_792),
        pytest.param("L", 7, 194_995_476, 2_688, marks=pytest.mark.slow),
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


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("small_v2", {"params": 3_860_720, "batch_stats": 15_948}),
        ("w18", {"params": 9_562_260, "batch_stats": 33_936}),
    ],
)
def test_hrnet(size, expected):
    model = encoders.make("hrnet", size=size)
    shapes = traced.shapes(
        lambda x: model.init(jax.random.key(0), x, train=False), jnp.zeros((1, 64, 64, 3))
    )
    found = {name: sum(x.size for x in jax.tree.leaves(tree)) for name, tree in shapes.items()}
    assert found == expected


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        (networks.vit(768, 12, classes=21_843), 102_595_923),
        (networks.vit(1024, 24, classes=21_843), 325_690_707),
        (networks.swin(96, (2, 2, 18, 2), 7), 49_606_258),
        (networks.swin(128, (2, 2, 18, 2), 7), 87_768_224),
        (networks.swin(128, (2, 2, 18, 2), 12), 87_903_584),
        (networks.swin(192, (2, 2, 18, 2), 7), 196_532_476),
    ],
)
def test_published_files_with_their_classifier(shapes, expected):
    """Those that test_published_transformers compares with ours are counted there."""
    learned = [s for n, s in shapes.items() if not n.endswith("relative_position_index")]
    assert sum(int(np.prod(shape)) for shape in learned) == expected
