import functools
import re

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import traced

from mtl_jax import architectures

TASKS = {"semseg": 19, "depth": 1}


def config(
    architecture, *, depth=34, flags="FFT", encoder_se=False, se=False, aspp=True, skip=True
):
    model = ml_collections.ConfigDict(
        {
            "architecture": architecture,
            "encoder": {
                "name": "resnet",
                "depth": depth,
                "width": 64,
                "replace_stride_with_dilation": flags,
                "dilation_rule": "template",
                "se": encoder_se,
            },
            "aspp": {"rates": (3, 6, 9), "channels": 256},
            "decoder": {"skip_channels": 48, "channels": 256},
            "se": se,
            "dtype": "float32",
        }
    )
    if architecture == "joint":
        model.aspp.enabled = aspp
        model.decoder.skip = skip
    return model


def shapes(model_config, channels=TASKS, size=(64, 64)):
    model = architectures.build(model_config, channels)
    image = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    return traced.shapes(
        functools.partial(model.init_with_output, train=False), jax.random.key(0), image
    )


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


JOINT = functools.partial(config, "joint")
BRANCHED = functools.partial(config, "branched")


@pytest.mark.parametrize(
    ("model_config", "parameters", "statistics"),
    [
        (JOINT(aspp=False, skip=False, flags="FFF"), 21_421_396, 17_536),
        (JOINT(), 26_716_084, 21_216),
        (JOINT(se=True), 26_733_012, 21_216),
        (BRANCHED(), 32_142_356, 25_408),
        (BRANCHED(se=True), 32_176_212, 25_408),
        (BRANCHED(depth=50), 57_190_676, 61_504),
        (BRANCHED(depth=50, se=True, encoder_se=True), 59_755_524, 61_504),
        (BRANCHED(depth=50, se=True), 57_224_532, 61_504),
    ],
    ids=[
        *("joint baseline", "joint", "joint SE", "branched", "branched SE"),
        *("branched R50", "branched R50 SE everywhere", "branched R50 SE in heads"),
    ],
)
def test_parameters(model_config, parameters, statistics):
    variables = shapes(model_config)[1]
    assert count(variables["params"]) == parameters
    assert count(variables["batch_stats"]) == statistics


@pytest.mark.parametrize("flags", ["FFF", "FFT", "FTT", "TTT"])
@pytest.mark.parametrize("architecture", ["joint", "branched"])
def test_every_output_stride_and_size(architecture, flags):
    for size in ((64, 96), (50, 71)):
        out = shapes(config(architecture, depth=18, flags=flags), size=size)[0]
        assert out.final["semseg"].shape == (2, *size, 19)
        assert out.final["depth"].shape == (2, *size, 1)


@pytest.mark.parametrize(("aspp", "skip"), [(True, False), (False, True)])
def test_joint_with_only_one_of_aspp_and_skip(aspp, skip):
    variables = shapes(JOINT(aspp=aspp, skip=skip))[1]
    expected = 21_284_672
    expected += 4_131_840 if aspp else 512 * 256 + 512
    expected += 1_299_572 if skip else 256 * 20 + 20
    assert count(variables["params"]) == expected


def test_joint_keeps_the_tasks_order():
    """The reports' output channels: 0–18 semantics, 19 depth."""
    model_config = JOINT(depth=18, aspp=False, skip=False)
    model_config.encoder.width = 4
    model_config.aspp.channels = 8
    model = architectures.build(model_config, TASKS)
    x = jnp.zeros((2, 32, 32, 3))
    variables = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape),
        traced.shapes(functools.partial(model.init, train=False), jax.random.key(0), x),
    )
    variables["params"]["decoder"]["predict"]["bias"] = jnp.arange(20.0)
    final = jax.jit(functools.partial(model.apply, train=False))(variables, x).final
    np.testing.assert_allclose(final["semseg"][1, 3, 4], np.arange(19), rtol=1e-5)
    np.testing.assert_allclose(final["depth"], 19, rtol=1e-5)


def changed(model_config, **changes):
    with model_config.unlocked():
        model_config.update_from_flattened_dict(
            {key.replace("__", "."): value for key, value in changes.items()}
        )
    return model_config


@pytest.mark.parametrize(
    ("model_config", "message"),
    [
        (
            changed(JOINT(), dtype="float16"),
            "config.model.dtype='float16'; expected",
        ),
        (changed(JOINT(), architecture="jiont"), "Did you mean 'joint'"),
        (JOINT(aspp=False, skip=False, se=True), "no place for squeeze-and-excitation"),
        (
            changed(BRANCHED(), aspp={"rates": (3,), "chanels": 8}),
            "aspp.chanels is unknown. Did you",
        ),
    ],
)
def test_impossible_options(model_config, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        architectures.build(model_config, TASKS)


def test_no_task():
    with pytest.raises(ValueError, match="at least one task"):
        architectures.build(JOINT(), {})
