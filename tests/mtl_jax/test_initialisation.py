"""How the networks of the reports start, on moments of the arrays that `init` draws."""

import functools
import importlib

import flax
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import tiny
import traced

from mtl_jax import architectures, encoders, layers
from mtl_jax.architectures import segnet
from mtl_jax.encoders import sunet
from mtl_jax.heads import attention, degridding, fcn, linear


def drawn(module, *shapes, **options):
    """{path: array} of the parameters, in float64."""
    arrays = [jnp.zeros(shape) for shape in shapes]
    variables = jax.jit(functools.partial(module.init, **options))(jax.random.key(0), *arrays)
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    return {
        "/".join(key.key for key in path): np.asarray(leaf, np.float64) for path, leaf in leaves
    }


def assert_normal(kernel, variance):
    """Mean 0, the variance, and the kurtosis of a normal distribution; some 10,000 values."""
    np.testing.assert_allclose(kernel.mean(), 0, atol=4 * (variance / kernel.size) ** 0.5)
    np.testing.assert_allclose(kernel.var(), variance, rtol=0.1)
    np.testing.assert_allclose((kernel**4).mean() / kernel.var() ** 2, 3, rtol=0.2)


def test_truncated_normal():
    """σ = 0.01 before what is beyond 2σ is cut off: TensorFlow's."""
    kernel = np.asarray(layers.initializer("truncated_normal")(jax.random.key(0), (40_000,)))
    assert 0.0195 < np.abs(kernel).max() <= 0.02
    np.testing.assert_allclose(kernel.std(), 0.0087963, rtol=0.02)


def test_linear_heads():
    """Of classes, N(0, 0.01²) and no bias, as DINOv3's."""
    head, taps = linear.LinearSegmentation(21), [jnp.zeros((1, 1, 1, 512))]
    variables = head.init(jax.random.key(0), taps, train=False)
    score = jax.tree.map(np.float64, variables["params"]["score"])
    assert_normal(score["kernel"], 0.01**2)
    assert not score["bias"].any()


VARIANCES = {
    "kaiming_normal_fan_in": lambda fan_in, fan_out: 2 / fan_in,
    "kaiming_normal_fan_out": lambda fan_in, fan_out: 2 / fan_out,
    "xavier_normal": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
}


@pytest.mark.parametrize(("init", "variance"), list(VARIANCES.items()))
def test_variances(init, variance):
    for fan_in, fan_out in ((30, 500), (500, 30)):
        kernel = layers.initializer(init)(jax.random.key(0), (fan_in, fan_out))
        assert_normal(np.float64(kernel), variance(fan_in, fan_out))


@pytest.mark.parametrize(
    ("init", "variance"),
    [
        pytest.param(*one, marks=pytest.mark.slow if k else ())
        for k, one in enumerate(VARIANCES.items())
    ],
)
def test_segnet_and_masks(init, variance):
    modules = (
        segnet.Stage(32, 2, init, jnp.float32),
        segnet.Head(5, init, jnp.float32),
        attention.AttentionMask(48, 24, init),
    )
    for module in modules:
        options = {} if isinstance(module, segnet.Head) else {"train": False}
        for path, value in drawn(module, (1, 4, 4, 24), **options).items():
            if path.endswith("kernel") and value.size > 1000:
                *window, c_in, c_out = value.shape
                expected = variance(np.prod(window) * c_in, np.prod(window) * c_out)
                np.testing.assert_allclose(value.var(), expected, rtol=0.15, err_msg=path)
            if path.endswith("bias"):
                assert not value.any(), path
            if path.endswith("scale"):
                assert (value == 1).all(), path


@pytest.mark.weekly
def test_stacked_unets():
    config = ml_collections.ConfigDict(
        {
            "name": "sunet",
            "width": 32,
            "blocks": (1, 1, 1, 1),
            "output_stride": 16,
            "dropout": 0.0,
            "init": "kaiming_normal_fan_out",
        }
    )
    params = drawn(encoders.build(config), (1, 32, 32, 3), train=False)
    assert_normal(params["unet1_0/down0_conv1/kernel"], 2 / (9 * 32))
    # in × out × 3 × 3 as stored: fan_out counts the input's 2·32 channels.
    assert params["unet1_0/up0_conv1/kernel"].shape == (3, 3, 64, 32)
    assert_normal(params["unet1_0/up0_conv1/kernel"], 2 / (9 * 64))
    assert not any(value.any() for path, value in params.items() if path.endswith("bias"))


def test_degridding_head():
    params = drawn(degridding.DegriddingHead(3, 64), (1, 2, 2, 32), train=False)
    assert_normal(params["conv1/kernel"], 2 / (9 * 64))
    assert not params["predict/bias"].any()


@pytest.mark.slow
def test_vgg_and_alexnet():
    """torchvision's own: Kaiming normal by fan_out and zero biases; PyTorch's default."""
    vgg = encoders.build(ml_collections.ConfigDict({"name": "vgg", "width": 16}))
    params = drawn(vgg, (1, 32, 32, 3), train=False)
    assert_normal(params["features_5/kernel"], 2 / (9 * 32))
    assert not params["features_5/bias"].any()
    config = {"name": "alexnet", "width": 16, "padding": "same"}
    params = drawn(encoders.build(ml_collections.ConfigDict(config)), (1, 32, 32, 3), train=False)
    bound = (25 * 16) ** -0.5
    assert 0.99 * bound < np.abs(params["features_3/kernel"]).max() <= bound * (1 + 1e-6)
    assert 0.8 * bound < np.abs(params["features_3/bias"]).max() <= bound * (1 + 1e-6)


def test_fcn_starts_at_zero_scores_and_bilinear_upsampling():
    params = drawn(fcn.Upscore(2, 8, registered=True), (1, 2, 2, 16), size=(16, 16))
    assert not params["score/kernel"].any()
    assert not params["score/bias"].any()
    kernel = params["upscore/kernel"]
    np.testing.assert_allclose(kernel[:, :, 0, 0].sum(), 64)
    assert not kernel[:, :, 0, 1].any()


def test_gate_starts_half_open():
    x = np.random.default_rng(0).standard_normal((1, 4, 4, 8)).astype(np.float32)
    out, variables = attention.SelfAttention().init_with_output(jax.random.key(0), x)
    value = {"kernel": variables["params"]["value"]["kernel"]}
    expected = layers.Conv(8).apply({"params": value}, x) / 2
    np.testing.assert_allclose(out, expected, rtol=1e-6)
    params = drawn(attention.SelfAttention("pytorch"), (1, 4, 4, 8))
    assert params["gate/kernel"].any()


@pytest.mark.parametrize(
    "module",
    [
        fcn.Classifier(3, 8, padded=True, dropout=0.5, dtype=jnp.float32),
        pytest.param(
            sunet.UNet(0.5, "pytorch", jnp.float32, width=4, features=8, levels=1),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["fcn", "sunet"],
)
def test_dropout(module):
    """Draws in training alone, another mask for another key."""
    x = jax.random.normal(jax.random.key(3), (2, 8, 8, 8))
    variables = jax.jit(functools.partial(module.init, train=False))(jax.random.key(0), x)

    @jax.jit
    def train(key):
        rngs = {"dropout": jax.random.key(key)}
        return module.apply(variables, x, train=True, mutable=["batch_stats"], rngs=rngs)[0]

    @functools.partial(jax.jit, static_argnums=0)
    def evaluate(module):
        return module.apply(variables, x, train=False)

    np.testing.assert_array_equal(train(0), train(0))
    assert not np.allclose(train(0), train(1), rtol=1e-2)
    np.testing.assert_array_equal(evaluate(module), evaluate(module.clone(dropout=0.0)))


@pytest.mark.parametrize(
    ("name", "protocol", "option"),
    [
        ("fcn", "streets_alexnet", "tail.dropout"),
        ("mtan", "streets_resnet", "aspp.dropout"),
        pytest.param("stacked_unet", "streets", "encoder.dropout", marks=pytest.mark.slow),
    ],
)
def test_architectures_pass_dropout_on(name, protocol, option):
    config = importlib.import_module(f"mtl_jax.configs.{name}").get_config(protocol).model
    tiny.narrow(config)

    def outputs(rate, *, train):
        config.update_from_flattened_dict({option: rate})
        model = architectures.build(config, {"depth": 1})
        x = jnp.zeros((2, 32, 32, 3))
        variables = traced.shapes(lambda: model.init(jax.random.key(0), x, train=False))
        apply = functools.partial(model.apply, train=train, mutable=["batch_stats"])  # no key
        return traced.shapes(apply, variables, x)

    outputs(0.0, train=True)
    outputs(0.5, train=False)
    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        outputs(0.5, train=True)
