"""The top-down decoder against a plain construction in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import traced
from ml_collections import ConfigDict
from test_depthwise import convolve

from mtl_jax import architectures
from mtl_jax.configs import common
from mtl_jax.encoders import Pyramid
from mtl_jax.errors import ConfigError
from mtl_jax.heads import top_down

SIZES = {4: (9, 13), 8: (5, 7), 16: (3, 4)}
CHANNELS = {4: 2, 8: 3, 16: 4}


def pyramid(extra=None) -> Pyramid:
    rng = np.random.default_rng(0)
    features = {
        stride: rng.standard_normal((2, *size, CHANNELS[stride]), np.float32)
        for stride, size in SIZES.items()
    }
    return Pyramid(features | (extra or {}))


def enlarged(x, size):
    """Half-pixel bilinear interpolation."""
    for axis, n in ((1, size[0]), (2, size[1])):
        position = np.clip((np.arange(n) + 0.5) * x.shape[axis] / n - 0.5, 0, x.shape[axis] - 1)
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, x.shape[axis] - 1)
        weight = (position - low).reshape([-1 if i == axis else 1 for i in range(4)])
        x = np.take(x, low, axis) * (1 - weight) + np.take(x, high, axis) * weight
    return x


def reference(variables, features):
    """Predictions and features in evaluation."""

    def norm(x, name):
        params, stats = variables["params"], variables["batch_stats"]
        for key in name:
            params, stats = params[key], stats[key]
        deviation = np.sqrt(np.float64(stats["var"]) + 1e-5)
        return (x - stats["mean"]) / deviation * params["scale"] + params["bias"]

    def conv3(x, kernel):
        """A sum of depthwise convolutions, one for each output."""
        padding = ((1, 1), (1, 1))
        options = {"stride": 1, "padding": padding, "dilation": 1}
        return np.stack(
            [
                convolve(x, kernel[:, :, None, :, o], np.zeros, **options)[0].sum(-1)
                for o in range(kernel.shape[-1])
            ],
            -1,
        )

    params, x = variables["params"], 0
    for stride in (16, 8, 4):
        y = np.float64(features[stride]) @ params[f"lateral{stride}"]["kernel"][0, 0]
        y = norm(y, [f"lateral{stride}_bn"])
        x = y if stride == 16 else y + enlarged(x, y.shape[1:3])
        kernel = np.float64(params[f"conv{stride}"]["conv"]["kernel"])
        x = np.maximum(norm(conv3(np.maximum(x, 0), kernel), [f"conv{stride}", "bn"]), 0)
    return x @ params["predict"]["kernel"][0, 0] + params["predict"]["bias"], x


def test_against_the_plain_construction():
    decoder = top_down.TopDownDecoder(outputs=3, channels=5, strides=(4, 8, 16))
    shapes = jax.eval_shape(
        functools.partial(decoder.init, train=False), jax.random.key(0), pyramid()
    )
    rng = np.random.default_rng(1)
    variables = jax.tree_util.tree_map_with_path(
        lambda path, leaf: (
            np.exp(0.2 * rng.standard_normal(leaf.shape, np.float32))
            if path[-1].key == "var"
            else 0.5 * rng.standard_normal(leaf.shape, np.float32)
        ),
        shapes,
    )
    # Features of a stride that is not asked for are not read.
    given = pyramid({2: np.full((2, 18, 26, 1), np.nan, np.float32)})
    found = jax.jit(functools.partial(decoder.apply, train=False))(variables, given)
    for ours, expected in zip(found, reference(variables, given.features), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("outputs", "expected"), [(19, 181_459), (1, 180_289)])
def test_parameters(outputs, expected):
    decoder = top_down.TopDownDecoder(outputs)
    features = {
        stride: jnp.zeros((1, 64 // stride, 64 // stride, channels))
        for stride, channels in {4: 24, 8: 40, 16: 112, 32: 320}.items()
    }
    init = functools.partial(decoder.init, train=False)
    params = traced.shapes(init, jax.random.key(0), Pyramid(features))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


def model(architecture: str, encoder) -> ConfigDict:
    config = common.base().model
    config.architecture, config.encoder = architecture, encoder
    config.decoder = ConfigDict({"name": "top_down", "channels": 4, "strides": (4, 8, 16, 32)})
    return config


@pytest.mark.parametrize("architecture", ["branched", "distillation"])
def test_architectures_with_branches_take_it(architecture):
    config = model(architecture, common.resnet(18, "FFF", width=4))
    network = architectures.build(config, {"semseg": 3, "depth": 1})
    image = jnp.zeros((2, 33, 47, 3))
    init = functools.partial(network.init_with_output, train=False)
    out, variables = traced.shapes(init, jax.random.key(0), image)
    assert out.final["semseg"].shape == (2, 33, 47, 3)
    assert {"decoder_semseg", "decoder_depth"} < set(variables["params"])
    config.encoder = common.resnet(18, "FFT", width=4)
    network = architectures.build(config, {"semseg": 3})
    with pytest.raises(ConfigError, match=r"config\.model\.decoder\.strides needs .*not at str"):
        jax.eval_shape(functools.partial(network.init, train=False), jax.random.key(0), image)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strides": (8, 4)}, r"decoder\.strides=\(8, 4\); expected rising strides"),
        ({"strides": ()}, r"decoder\.strides=\(\); expected rising strides"),
        ({"channels": 0}, r"decoder\.channels=0; expected a whole number from 1"),
        ({"name": "bottom_up"}, r"decoder\.name='bottom_up'; expected deeplabv3plus or .*top_d"),
    ],
)
def test_impossible_options(options, message):
    config = model("branched", common.resnet(18))
    config.decoder.update(options)
    with pytest.raises(ConfigError, match=message):
        architectures.build(config, {"semseg": 3})
