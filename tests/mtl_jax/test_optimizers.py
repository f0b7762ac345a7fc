"""Schedules against the reports' values, optimizers against PyTorch's formulas in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mtl_jax import layers, optimizers
from mtl_jax.configs import common
from mtl_jax.errors import ConfigError
from mtl_jax.layers import transformer
from mtl_jax.optimizers import freezing, layerwise


def schedule(steps_per_epoch=10, epochs=16, **options):
    config = common.base().schedule
    config.update(options)
    return optimizers.make_schedule(
        config, steps_per_epoch=steps_per_epoch, total_steps=steps_per_epoch * epochs
    )


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0, 1e-4), (1, 9.4357e-5), (8, 5.3589e-5), (15, 8.2469e-6)]
)
def test_polynomial_is_per_epoch(epoch, expected):
    rate = schedule(name="polynomial", learning_rate=1e-4, power=0.9)
    for step in (0, 9):  # constant within the epoch
        np.testing.assert_allclose(rate(10 * epoch + step), expected, rtol=2e-5)


def test_polynomial_may_fall_with_every_step():
    rate = schedule(name="polynomial", learning_rate=1e-4, power=0.9, every="step")
    for step in (0, 1, 9, 159):
        np.testing.assert_allclose(rate(step), 1e-4 * (1 - step / 160) ** 0.9, rtol=2e-5)


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 5e-3), (25, 4.26777e-3), (50, 2.5e-3), (75, 7.3223e-4)]
)
def test_cosine_is_the_closed_form(step, expected):
    rate = schedule(steps_per_epoch=1, epochs=100, name="cosine", learning_rate=5e-3)
    np.testing.assert_allclose(rate(step), expected, rtol=2e-5)


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0, 1e-4), (24, 1e-4), (25, 5e-5), (50, 2.5e-5), (99, 1.25e-5)]
)
def test_step_halves_every_25_epochs(epoch, expected):
    rate = schedule(epochs=100, name="step", learning_rate=1e-4, every_epochs=25, factor=0.5)
    np.testing.assert_allclose(rate(10 * epoch + 3), expected, rtol=1e-6)


def test_warmup_rises_linearly_to_the_rate():
    rate = schedule(name="constant", learning_rate=0.4, warmup_epochs=0.4)
    np.testing.assert_allclose([rate(s) for s in range(6)], [0.1, 0.2, 0.3, 0.4, 0.4, 0.4])


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"config\.schedule\.name='cosin'.*cosine"):
        schedule(name="cosin")
    with pytest.raises(ValueError, match=r"config\.optimizer\.name='rmsprop'.*adamw"):
        trained(name="rmsprop")


PARAMS = {  # of two groups and a weighting
    "model": {
        "encoder": {"conv": {"kernel": np.array([1.0, -2.0])}},
        "head": {"bias": np.array([0.5])},
    },
    "weighting": {"s": np.array([0.3])},
}


def gradient(step: int, shape) -> np.ndarray:
    return np.cos(np.arange(1, 1 + np.prod(shape)) * (step + 1.0)).reshape(shape)


def gradient_like(step: int, p) -> np.ndarray:
    return gradient(step, p.shape)


def trained(steps=5, rate=0.1, **options):
    """Parameters after a few updates with `gradient`."""
    config = common.base().optimizer
    config.update(options)
    optimizer = optimizers.make_optimizer(config, lambda step: jnp.float32(rate))
    as_jax = lambda tree: jax_map(jnp.float32, tree)  # noqa: E731
    params = as_jax(PARAMS)
    state = optimizer.init(params)
    for step in range(steps):
        gradients = as_jax(jax_map(functools.partial(gradient_like, step), PARAMS))
        updates, state = optimizer.update(gradients, state, params)
        params = jax_map(lambda p, u: p + u, params, updates)
    return params


def jax_map(function, *trees):
    return jax.tree.map(function, *trees)


def expected(p, steps=5, rate=0.1, decay=0.0, momentum=0.9, kind="sgd", eps=1e-8):
    """PyTorch's update rules in float64."""
    p = p.astype(np.float64)
    first, second = np.zeros_like(p), np.zeros_like(p)
    for step in range(steps):
        g = gradient(step, p.shape)
        if kind == "adamw":
            p = p * (1 - rate * decay)
        else:
            g = g + decay * p
        if kind == "sgd":
            first = momentum * first + g
            p = p - rate * first
        else:
            first = 0.9 * first + 0.1 * g
            second = 0.999 * second + 0.001 * g * g
            corrected = first / (1 - 0.9 ** (step + 1))
            p = p - rate * corrected / (np.sqrt(second / (1 - 0.999 ** (step + 1))) + eps)
    return p


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_update_rules_are_pytorchs(kind):
    found = trained(name=kind, weight_decay=0.02, encoder_scale=0.1, weighting_scale=2.0)
    kernel, bias, s = PARAMS["model"]["encoder"]["conv"]["kernel"], np.array([0.5]), np.array([0.3])
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5)  # noqa: E731
    # The encoder at a tenth of the rate; decay of everything but the weighting's parameters.
    close(
        found["model"]["encoder"]["conv"]["kernel"],
        expected(kernel, rate=0.01, decay=0.02, kind=kind),
    )
    close(found["model"]["head"]["bias"], expected(bias, decay=0.02, kind=kind))
    close(found["weighting"]["s"], expected(s, rate=0.2, kind=kind))


def test_clipping_is_global_and_before_decay():
    norm = np.sqrt(
        sum(np.sum(gradient(0, p.shape) ** 2) for p in ([np.zeros(2), np.zeros(1)] + [np.zeros(1)]))
    )
    found = trained(steps=1, name="sgd", weight_decay=0.02, clip_norm=0.5)  # norm > 0.5
    bias = 0.5 - 0.1 * (gradient(0, (1,)) * 0.5 / norm + 0.02 * 0.5)
    np.testing.assert_allclose(found["model"]["head"]["bias"], bias, rtol=1e-5)


def path_of(*names):
    return tuple(jax.tree_util.DictKey(name) for name in names)


@pytest.mark.parametrize(
    ("module", "group"),
    [
        ("encoder", "common"),
        ("encoder_depth", "common"),  # its features reach other tasks
        ("decoder", "common"),
        ("classifier", "common"),
        ("attention1", "common"),
        ("attention_down0", "common"),
        ("head_depth", "depth"),
        ("head_depth_conv", "depth"),
        ("mask_depth_2", "depth"),
        ("final_semseg_conv1", "semseg"),
        ("head_depth_far", "depth_far"),
        ("head_depths", "common"),
        ("attention_semseg_to_depth", "depth"),
    ],
)
def test_a_module_belongs_to_the_task_that_it_is_called_after(module, group):
    tasks = ("semseg", "depth", "depth_far")
    assert optimizers.group_of(path_of("model", module, "conv", "kernel"), tasks) == group
    assert optimizers.group_of(path_of("weighting", "log_variance", "depth"), tasks) == "common"


def test_new_biases_have_a_multiple_of_the_encoders_rate():
    """20 × 5e-4 beside 5e-3 for new kernels; a BatchNorm's bias goes with its scale."""
    factors = {  # of the base rate, 5e-3
        "encoder": {"conv": {"kernel": 0.1, "bias": 0.1}},
        "head_semseg": {
            "conv": {"kernel": 1.0, "bias": 2.0},
            "bn": {"scale": 1.0, "bias": 1.0},
        },
    }
    config = common.base().optimizer
    config.update({"weight_decay": 0.0, "encoder_scale": 0.1, "bias_scale": 20.0})
    optimizer = optimizers.make_optimizer(config, lambda step: jnp.float32(5e-3))
    params = {"model": jax_map(jnp.float32, factors), "weighting": {"s": jnp.float32(0)}}
    ones = jax_map(jnp.ones_like, params)
    updates, _ = optimizer.update(ones, optimizer.init(params), params)
    jax_map(
        functools.partial(np.testing.assert_allclose, rtol=1e-6),
        updates,
        {"model": jax_map(lambda factor: -5e-3 * factor, factors), "weighting": {"s": -5e-3}},
    )


@pytest.mark.parametrize("decay", [0.0, 1e-4, 5e-4, 1e-3])
def test_the_weight_decays_of_the_sweep(decay):
    found = trained(name="sgd", weight_decay=decay)
    kernel = PARAMS["model"]["encoder"]["conv"]["kernel"]
    np.testing.assert_allclose(
        found["model"]["encoder"]["conv"]["kernel"], expected(kernel, decay=decay), rtol=1e-5
    )


@pytest.mark.parametrize("vectors", [True, False])
def test_weight_decay_may_leave_vectors_out(vectors):
    """One step of 0.1 without a gradient: what is decayed loses 0.1 · 0.02 of itself."""
    config = {"name": "sgd", "weight_decay": 0.02, "decay_vectors": vectors}
    optimizer = optimizers.make_optimizer(config, lambda step: jnp.float32(0.1))
    params = {
        "model": {"head": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2), "scale": jnp.ones(2)}},
        "weighting": {"s": jnp.ones(())},
    }
    updates, _ = optimizer.update(
        jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params
    )
    lost = jax.tree.map(lambda x: float(-x.ravel()[0]), updates)
    vector = pytest.approx(0.002 if vectors else 0.0)
    assert lost["model"]["head"] == {
        "kernel": pytest.approx(0.002),
        "bias": vector,
        "scale": vector,
    }
    assert lost["weighting"]["s"] == 0


class TwoEncoders(nn.Module):
    """Two encoders, one with a LayerNorm, and a BatchNorm outside of both."""

    @nn.compact
    def __call__(self, image, *, train):
        x = layers.BatchNorm(name="bn")(layers.Conv(4, name="encoder_a")(image), train=train)
        return Inner(name="encoder_b")(x, train=train)


class Inner(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return layers.BatchNorm(name="bn")(transformer.LayerNorm(name="ln")(x), train=train)


def test_norms_are_found_by_their_class():
    assert optimizers.modules_of(TwoEncoders(), layers.BatchNorm) == {("bn",), ("encoder_b", "bn")}
    assert optimizers.modules_of(TwoEncoders(), transformer.LayerNorm) == {("encoder_b", "ln")}


def test_each_of_several_encoders_is_one():
    for module, part in (
        ("encoder", "encoder"),
        ("encoder_a", "encoder"),
        ("encoders", "rest"),
        ("decoder", "rest"),
    ):
        assert optimizers.part_of(path_of("model", module, "kernel")) == part
    # A layer that is called so further inside is none.
    assert optimizers.part_of(path_of("model", "head_depth", "encoder", "kernel")) == "rest"
    assert optimizers.part_of(path_of("weighting", "encoder")) == "weighting"


def test_several_encoders_are_frozen_as_one_and_a_layer_norm_is_no_batch_norm():
    init = functools.partial(TwoEncoders().init, train=False)
    params = jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    config = common.base().train
    config.freeze_batch_norm = "encoder"
    mask = freezing.build(config, TwoEncoders(), ()).mask({"model": params})["model"]
    assert mask["encoder_b"] == {
        "bn": {"bias": True, "scale": True},
        "ln": {"bias": False, "scale": False},
    }
    assert not mask["bn"]["scale"]
    config.freeze_batch_norm, config.freeze = "", ("encoder",)
    mask = freezing.build(config, TwoEncoders(), ()).mask({"model": params})["model"]
    assert all(jax.tree.leaves((mask["encoder_a"], mask["encoder_b"])))
    assert not any(jax.tree.leaves(mask["bn"]))


@pytest.mark.parametrize("epochs", [1.5, 4])
def test_cosine_and_constant_are_optaxs_and_the_closed_form(epochs):
    total = int(7 * epochs)
    for name, form in (
        ("constant", lambda t: 0.3),
        ("cosine", lambda t: 0.3 * 0.5 * (1 + np.cos(np.pi * t / total))),
    ):
        schedule = optimizers.make_schedule(
            {"name": name, "learning_rate": 0.3}, steps_per_epoch=7, total_steps=total
        )
        for step in (0, 1, total // 2, total - 1):
            np.testing.assert_allclose(schedule(step), form(step), rtol=1e-6, atol=3e-8)


def test_layer_decay_counts_blocks_from_the_end():
    """Decay .8 over 24 blocks: embeddings .8²⁵ = .003778, the last block .8, heads 1."""
    leaf = {"kernel": jnp.ones(1)}
    encoder = {f"blocks_{i}": {"attn": {"qkv": leaf}} for i in range(24)}
    encoder |= {"patch_embed": leaf, "cls_token": jnp.ones(1), "norm": {"scale": jnp.ones(1)}}
    params = {"model": {"encoder": encoder, "head_depth": leaf}, "weighting": {"s": jnp.ones(1)}}
    found = layerwise.layer_factors(params, 0.8)
    encoder = found["model"]["encoder"]
    assert encoder["patch_embed"]["kernel"] == encoder["cls_token"] == pytest.approx(0.003778, 1e-3)
    assert encoder["blocks_0"]["attn"]["qkv"]["kernel"] == pytest.approx(0.8**24)
    assert encoder["blocks_10"]["attn"]["qkv"]["kernel"] == pytest.approx(0.8**14)
    assert encoder["blocks_23"]["attn"]["qkv"]["kernel"] == pytest.approx(0.8)
    assert encoder["norm"]["scale"] == found["model"]["head_depth"]["kernel"] == 1
    assert found["weighting"]["s"] == 1


def test_layer_decay_of_swin_counts_over_all_stages():
    """Of 2 + 3 blocks; a merging goes with the stage that follows it."""
    leaf = {"kernel": jnp.ones(1)}
    encoder = {f"layers_{s}": {f"blocks_{b}": leaf for b in range(n)} for s, n in enumerate((2, 3))}
    encoder["layers_0"]["downsample"] = {"reduction": leaf}
    encoder |= {"norm0": leaf, "patch_embed": {"norm": leaf}}
    found = layerwise.layer_factors({"model": {"encoder_a": encoder}}, 0.5)["model"]["encoder_a"]
    exponents = jax.tree.map(lambda x: -int(np.log2(x)), found)
    assert exponents["patch_embed"]["norm"]["kernel"] == 6
    assert [exponents["layers_0"][f"blocks_{i}"]["kernel"] for i in (0, 1)] == [5, 4]
    assert exponents["layers_0"]["downsample"]["reduction"]["kernel"] == 3
    assert [exponents["layers_1"][f"blocks_{i}"]["kernel"] for i in (0, 1, 2)] == [3, 2, 1]
    assert exponents["norm0"]["kernel"] == 0


def test_layer_decay_needs_blocks_and_is_a_factor_of_the_rate():
    optimizer = optimizers.make_optimizer(
        {"name": "sgd", "weight_decay": 0.0, "layer_decay": 0.5}, lambda step: jnp.float32(0.1)
    )
    leaf = {"kernel": jnp.ones(1)}
    params = {"model": {"encoder": {"patch_embed": leaf, "blocks_0": leaf}}}
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    encoder = updates["model"]["encoder"]
    assert encoder["patch_embed"]["kernel"][0] == pytest.approx(-0.1 / 4)
    assert encoder["blocks_0"]["kernel"][0] == pytest.approx(-0.1 / 2)
    with pytest.raises(ConfigError, match=r"layer_decay=0\.5: encoder has no transformer blocks"):
        optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)


def test_tables_and_tokens_are_not_decayed_either():
    optimizer = optimizers.make_optimizer(
        {"name": "sgd", "weight_decay": 0.02, "decay_vectors": False}, lambda step: jnp.float32(0.1)
    )
    names = ("kernel", "lora_a", "pos_embed", "cls_token", "relative_position_bias_table")
    params = {"model": {"encoder": {name: jnp.ones((1, 2, 3)) for name in names}}}
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    moved = {name for name, leaf in updates["model"]["encoder"].items() if np.any(leaf)}
    assert moved == {"kernel", "lora_a"}
