"""What vision transformers do besides what the golden ones show."""

import dataclasses
import functools

import golden_networks as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import traced
from flax import linen as nn

from mtl_jax import encoders
from mtl_jax.encoders import vit
from mtl_jax.errors import ConfigError, UsageError
from mtl_jax.layers import transformer

TINY = vit.ViT(
    width=32, depth=4, heads=2, patch=4, table=(4, 4), rule="aa", taps=(0, 3), layer_scale=0.5
)


def image(height, width, batch=2):
    return jnp.asarray(golden.uniform("image", (batch, height, width, 3)), jnp.float32)


def variables_of(model):
    shapes = traced.shapes(lambda x: model.init(jax.random.key(0), x, train=False), image(16, 16))
    return jax.tree.map(jnp.float32, golden.fill(shapes))


def features(model, variables, x, **options):
    return jax.jit(functools.partial(model.apply, **({"train": False} | options)))(
        variables, x
    ).last


@pytest.mark.parametrize(
    ("options", "taps"),
    [
        ({}, (2, 5, 8, 11)),
        ({"taps": "last"}, (8, 9, 10, 11)),
        ({"taps": (0, 11)}, (0, 11)),
        ({"size": "L"}, (5, 11, 17, 23)),
        ({"size": "L", "variant": "dinov2"}, (4, 11, 17, 23)),
    ],
)
def test_taps(options, taps):
    assert encoders.make("vit", **options).taps == taps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"taps": (3, 12)}, r"taps=\(3, 12\); expected rising numbers of blocks, from 0 to 11"),
        ({"taps": (3, 3)}, "rising"),
        ({"taps": ()}, "'even', 'last' or numbers"),
        ({"table": (3,)}, r"\(h, w\)"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ConfigError, match=message):
        encoders.make("vit", **options)


def test_each_family_resamples_positions_by_its_own_rule():
    rules = {variant: encoders.make("vit", variant=variant).rule for variant in vit.VARIANTS}
    assert rules == {"augreg": "aa", "dinov2": "offset", "dinov2_reg": "aa"}
    assert encoders.make("vit", positions="plain").rule == "plain"


@pytest.mark.slow
def test_the_rule_matters_and_only_where_the_grid_is_another():
    variables = variables_of(TINY)
    for size, same in (((16, 16), True), ((12, 20), False)):
        found = [
            features(dataclasses.replace(TINY, rule=rule), variables, image(*size))
            for rule in ("aa", "plain", "offset")
        ]
        for other in found[1:]:
            assert np.allclose(other, found[0], atol=1e-6) == same


def test_a_side_that_is_no_multiple_of_the_patch():
    with pytest.raises(UsageError, match=r"16×18 pixels .* patches of 4×4; .* multiples of 4"):
        features(TINY, variables_of(TINY), image(16, 18))


def test_tokens_are_those_of_the_map():
    """The last tap through the final norm is the features; the class token has no place in it."""
    apply = jax.jit(functools.partial(TINY.apply, train=False))
    found = apply(variables_of(TINY), image(12, 20))
    assert found.strides == (4,)
    assert found.tokens.grid == (3, 5)
    np.testing.assert_array_equal(found.tokens.maps(normed=True)[-1], found.last)
    assert found.tokens.raw[0].shape == (2, 1 + 15, 32)


def test_bfloat16_is_close_to_float32():
    variables, x = variables_of(TINY), image(16, 16)
    exact = features(TINY, variables, x)
    rough = features(dataclasses.replace(TINY, dtype=jnp.bfloat16), variables, x)
    assert rough.dtype == jnp.bfloat16
    error = np.sqrt(np.mean(np.square(rough.astype(jnp.float32) - exact)))
    assert 1e-3 < error / np.std(exact) < 0.05


@pytest.mark.slow
def test_remat_changes_no_gradient():
    variables, x = variables_of(TINY), image(8, 8)

    def gradient(model):
        loss = lambda v: jnp.square(features(model, v, x)).sum()  # noqa: E731
        return jax.jit(jax.grad(loss))(variables)

    plain = gradient(TINY)
    for one, other in zip(
        jax.tree.leaves(plain),
        jax.tree.leaves(gradient(dataclasses.replace(TINY, remat=True))),
        strict=True,
    ):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4)
    nothing = {name for name, leaf in golden.flat(plain).items() if not np.any(leaf)}
    assert {name.removeprefix("params/") for name in nothing} == set(TINY.unread)


def test_stochastic_depth_rises_to_the_last_block():
    """Rate .15 over 24 blocks: the block in the middle has .0783."""
    rates = [0.15 * i / 23 for i in range(24)]
    assert rates[12] == pytest.approx(0.0783, abs=5e-5)
    model = dataclasses.replace(TINY, drop_path=0.6)
    seen = {}

    def note(call, args, kwargs, context):
        if context.module.name == "drop_path1":
            seen[context.module.path[0]] = context.module.rate
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(
            lambda v, x: features(model, v, x, train=True, rngs={"dropout": jax.random.key(0)}),
            variables_of(TINY),
            image(8, 8),
        )
    assert list(seen.values()) == pytest.approx([0, 0.2, 0.4, 0.6])


@pytest.mark.slow
def test_low_rank_updates_begin_at_nothing():
    """ViT-S, rank 8 of both projections: 221,184 more parameters, and the network of before."""
    plain, lora = (encoders.make("vit", lora_rank=rank) for rank in (0, 8))
    sizes = [
        sum(
            leaf.size
            for leaf in jax.tree.leaves(
                traced.shapes(
                    lambda x, m=model: m.init(jax.random.key(0), x, train=False), image(16, 16, 1)
                )
            )
        )
        for model in (plain, lora)
    ]
    assert sizes[1] - sizes[0] == 221_184
    model, x = dataclasses.replace(TINY, updates=transformer.LowRank(2)), image(8, 8)
    variables = model.init(jax.random.key(0), x, train=False)
    kept = lambda path: path[-1].key not in ("lora_a", "lora_b")  # noqa: E731
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    assert len([path for path, _ in leaves if not kept(path)]) == 4 * 2 * 2
    np.testing.assert_array_equal(
        features(model, variables, x), features(TINY, _without_lora(variables), x)
    )


def _without_lora(tree):
    if not isinstance(tree, dict):
        return tree
    return {k: _without_lora(v) for k, v in tree.items() if k not in ("lora_a", "lora_b")}
