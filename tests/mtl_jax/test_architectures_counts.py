"""Parameters of the multi-task architectures that papers compare with, without allocating one."""

import functools

import jax
import jax.numpy as jnp
import pytest
import traced

from mtl_jax import architectures

NYUD = {"semseg": 40, "depth": 1}
PASCAL = {"semseg": 21, "human_parts": 7, "sal": 1, "normals": 3, "edge": 1}
HRNET = {"name": "hrnet"}


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def variables(architecture: str, channels, size=(64, 64), **options):
    model = architectures.make(architecture, channels, **options)
    image = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    init = functools.partial(model.init_with_output, train=False)
    out, found = traced.shapes(init, jax.random.key(0), image)
    assert {task: x.shape for task, x in out.final.items()} == {
        task: (1, *size, outputs) for task, outputs in channels.items()
    }
    return found


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def dilated(depth: int):
    """The survey's ResNets and heads."""
    encoder = {"name": "resnet", "depth": depth, "dilation_rule": "survey"}
    encoder["replace_stride_with_dilation"] = "FTT"
    decoder = {"name": "deeplabv3", "dropout": 0.5}
    return {"encoder": encoder, "aspp": {"rates": (12, 24, 36)}, "decoder": decoder}


@pytest.mark.parametrize(
    ("architecture", "options", "channels", "parameters"),
    [
        ("branched", {"decoder": {"name": "high_resolution"}}, NYUD, 4_019_251),
        slow("branched", {"decoder": {"name": "high_resolution"}}, PASCAL, 4_238_213),
        ("pad_net", {}, NYUD, 7_019_056),
        slow("pad_net", {}, PASCAL, 29_304_992),
        ("mti_net", {}, NYUD, 8_578_179),
        slow("mti_net", {}, PASCAL, 24_494_171),
    ],
)
def test_on_hrnet_18(architecture, options, channels, parameters):
    found = variables(architecture, channels, encoder=HRNET, **options)
    assert count(found["params"]) == parameters
    assert count(found["batch_stats"]) > 15_948  # the encoder's


@pytest.mark.parametrize(
    ("architecture", "parameters"),
    [("pad_net", 12_161_332), slow("mti_net", 14_838_121)],
)
def test_nyud_with_auxiliary_normals_and_edges(architecture, parameters):
    """Those are predicted once: of the published network no final prediction of them is counted."""
    channels = NYUD | {"normals": 3, "edge": 1}
    auxiliary = ("normals", "edge")
    found = variables(architecture, channels, encoder=HRNET, auxiliary=auxiliary)
    assert count(found["params"]) == parameters


# NDDR-CNN's as a survey prints them, without the layer after the stem.
WITHOUT_STEM = {101_591_721: 101_575_081, 88_318_561: 88_215_521}


@pytest.mark.parametrize(
    ("architecture", "depth", "channels", "parameters"),
    [
        ("cross_stitch", 18, NYUD, 31_811_753),
        slow("cross_stitch", 50, NYUD, 79_292_841),
        slow("cross_stitch", 18, PASCAL, 79_525_921),
        ("nddr", 18, NYUD, 33_221_033),
        slow("nddr", 50, NYUD, 101_591_721),
        slow("nddr", 18, PASCAL, 88_318_561),
    ],
)
def test_side_by_side(architecture, depth, channels, parameters):
    found = variables(architecture, channels, **dilated(depth))["params"]
    assert count(found) == parameters
    if parameters in WITHOUT_STEM:
        assert parameters - count(found["reduction0"]) == WITHOUT_STEM[parameters]
