"""Low-rank updates of every transformer: how many, nothing at the start, merged as they are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import traced
from flax import linen as nn

from mtl_jax import encoders
from mtl_jax.encoders import swin, vit
from mtl_jax.layers import transformer

NETWORKS = {
    "swin": swin.Swin(width=32, depths=(1, 2, 1, 1), window=2, policy="dense"),
    "vit": vit.ViT(16, 2, 2, patch=4, table=(3, 5), rule="aa", taps=(1,)),
}


def parameters(**options) -> int:
    model = encoders.make(**options)
    image = jnp.zeros((1, 32, 32, 3))
    shapes = traced.shapes(lambda: model.init(jax.random.key(0), image, train=False))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # Rank 8 of C ─► 3C and C ─► C is 48 C; Swin-T's blocks are 4416 channels wide together.
        ({"name": "swin", "size": "T"}, 48 * 4416),
        ({"name": "vit", "size": "S"}, 221_184),
        # And of C ─► 4C ─► C 80 C.
        ({"name": "swin", "size": "T", "lora_mlp": True}, 128 * 4416),
        ({"name": "vit", "size": "S", "lora_mlp": True}, 128 * 12 * 384),
    ],
)
def test_parameters(options, expected):
    assert parameters(**options, lora_rank=8) - parameters(**options) == expected


def test_updates_read_less_in_training_and_the_layer_itself_all():
    """Of x = 1 and A = B = 1 an update is 8 times a mean of what is kept, divided by its share."""
    layer = transformer.Linear(3, updates=transformer.LowRank(2, 6.0, dropout=0.25))
    x = jnp.ones((4000, 8))
    ones = jax.tree.map(jnp.ones_like, layer.init(jax.random.key(0), x))
    plain, update = 8 + 1, 8 * 6.0
    np.testing.assert_allclose(layer.apply(ones, x), plain + update)
    found = layer.apply(ones, x, train=True, rngs={"dropout": jax.random.key(1)})
    kept = (found[:, 0] - plain) / (6.0 / 0.75)
    np.testing.assert_allclose(kept, np.round(kept), atol=1e-4)  # a number of values from 0 to 8
    np.testing.assert_allclose(kept.mean(), 8 * 0.75, rtol=0.02)


@pytest.mark.parametrize("name", [pytest.param("swin", marks=pytest.mark.slow), "vit"])
def test_every_update_of_a_network_drops_in_training_alone(name):
    network = NETWORKS[name].clone(updates=transformer.LowRank(2, mlp=True, dropout=0.1))
    x, seen = jnp.zeros((1, 12, 20, 3)), {}

    def note(call, args, kwargs, context):
        if isinstance(context.module, nn.Dropout):
            seen["/".join(context.module.path[:-1])] = context.module.deterministic
        return call(*args, **kwargs)

    variables = traced.shapes(lambda: network.init(jax.random.key(0), x, train=False))
    layers = {
        "/".join(key.key for key in path[1:-1])
        for path, _ in jax.tree_util.tree_leaves_with_path(variables)
        if path[-1].key == "lora_a"
    }
    for train in (False, True):
        with nn.intercept_methods(note):
            apply = functools.partial(network.apply, train=train)
            jax.eval_shape(
                functools.partial(apply, rngs={"dropout": jax.random.key(0)}), variables, x
            )
        assert seen == dict.fromkeys(layers, not train)


@pytest.mark.parametrize(
    ("name", "mlp"),
    [
        ("vit", True),
        pytest.param("swin", True, marks=pytest.mark.weekly),
        *(pytest.param(name, False, marks=pytest.mark.weekly) for name in NETWORKS),
    ],
)
def test_what_is_merged_is_the_plain_network_with_the_same_features(name, mlp):
    plain, random = NETWORKS[name], np.random.default_rng(0)
    adapted = plain.clone(updates=transformer.LowRank(2, 6.0, mlp))
    x = jnp.asarray(random.normal(size=(1, 12, 20, 3)), jnp.float32)
    init = traced.shapes(lambda: adapted.init(jax.random.key(0), x, train=False))
    params = jax.tree.map(
        lambda leaf: jnp.asarray(random.normal(0, 0.2, leaf.shape), jnp.float32), init["params"]
    )
    merged = transformer.merge_low_rank(params, 6.0)
    expected = traced.shapes(lambda: plain.init(jax.random.key(0), x, train=False))["params"]
    assert jax.tree.map(jnp.shape, merged) == jax.tree.map(jnp.shape, expected)

    @jax.jit
    def features(params):
        return adapted.apply({"params": params}, x, train=False).last

    found = jax.jit(lambda params: plain.apply({"params": params}, x, train=False).last)(merged)
    np.testing.assert_allclose(found, features(params), rtol=0, atol=2e-4)
    nothing = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * (path[-1].key != "lora_b"), params
    )
    assert not np.allclose(found, features(nothing), atol=0.05)
