"""Transformer blocks against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from mtl_jax.layers import transformer


def norm(x, p, epsilon):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + epsilon) * p["scale"] + p["bias"]


def linear(x, p):
    return x @ p["kernel"] + p["bias"]


def plain_block(x, p, heads, epsilon=1e-6):
    """[N, C] of one example, head by head."""
    y = linear(norm(x, p["norm1"], epsilon), p["attn"]["qkv"])
    width = x.shape[-1] // heads
    q, k, v = np.split(y, 3, axis=-1)
    out = []
    for h in range(heads):
        a, b, c = (t[:, h * width : (h + 1) * width] for t in (q, k, v))
        out.append(special.softmax(a @ b.T / np.sqrt(width), axis=-1) @ c)
    y = linear(np.concatenate(out, axis=-1), p["attn"]["proj"])
    x = x + y * p["ls1"]["gamma"]
    y = linear(norm(x, p["norm2"], epsilon), p["mlp"]["fc1"])
    y = y * 0.5 * (1 + special.erf(y / np.sqrt(2)))
    return x + linear(y, p["mlp"]["fc2"]) * p["ls2"]["gamma"]


def random_like(params, seed=0):
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(
        tree, [rng.normal(0, 0.3, x.shape).astype(np.float32) for x in leaves]
    )


def test_block():
    block = transformer.Block(heads=2, layer_scale=0.1)
    x = np.random.default_rng(1).normal(size=(3, 5, 8)).astype(np.float32)
    shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), x, False))
    params = random_like(shapes["params"])
    found = jax.jit(lambda params: block.apply({"params": params}, x, False))(params)
    exact = jax.tree.map(lambda a: a.astype(np.float64), params)
    expected = [plain_block(each.astype(np.float64), exact, heads=2) for each in x]
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize(("epsilon", "expected"), [(1e-6, (1, 1 / 3)), (1e-5, (0.4472, 0.1491))])
def test_epsilon_of_a_layer_norm(epsilon, expected):
    x = 1e-3 * np.array([[-1.5, -0.5, 0.5, 1.5]], np.float32)
    module = transformer.LayerNorm(epsilon)
    found = module.apply(module.init(jax.random.key(0), x), x)
    outer, inner = expected
    # At 1e-6 the variance, 1.25e-6, is of the size of ε.
    scale = (
        np.sqrt(1.25e-6 / (1.25e-6 + epsilon)) * np.array([-1.5, -0.5, 0.5, 1.5]) / np.sqrt(1.25)
    )
    np.testing.assert_allclose(found[0], scale, rtol=1e-5)
    np.testing.assert_allclose(found[0], [-outer, -inner, inner, outer], atol=1e-3)


def test_norm_is_float32_in_bfloat16():
    x = (1000 + np.arange(4, dtype=np.float32))[None]
    module = transformer.LayerNorm(dtype=jnp.bfloat16)
    found = module.apply(module.init(jax.random.key(0), x), x)
    np.testing.assert_allclose(found[0].astype(np.float32), [-1.34, -0.447, 0.447, 1.34], atol=0.01)


class TestDropPath:
    def test_drops_whole_examples_and_keeps_the_mean(self):
        x = np.ones((4000, 2, 3), np.float32)
        found = transformer.DropPath(0.25).apply(
            {}, x, train=True, rngs={"dropout": jax.random.key(0)}
        )
        each = np.asarray(found).reshape(4000, -1)
        assert (each == each[:, :1]).all()
        assert set(np.unique(each).round(5)) == {0.0, np.float32(1 / 0.75).round(5)}
        assert each.mean() == pytest.approx(1, abs=0.03)

    def test_is_nothing_in_evaluation(self):
        x = np.ones((2, 3), np.float32)
        np.testing.assert_array_equal(transformer.DropPath(0.5).apply({}, x, train=False), x)


class TestLoRA:
    def test_begins_as_the_layer_without_it(self):
        x = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
        lora = transformer.Linear(4, updates=transformer.LowRank(2))
        params = lora.init(jax.random.key(1), x)
        plain = {"params": {k: params["params"][k] for k in ("kernel", "bias")}}
        np.testing.assert_array_equal(lora.apply(params, x), transformer.Linear(4).apply(plain, x))

    def test_adds_the_scaled_product(self):
        x = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
        lora = transformer.Linear(4, updates=transformer.LowRank(2, 8.0))
        params = random_like(lora.init(jax.random.key(1), x)["params"])
        kernel = params["kernel"] + 8 / 2 * params["lora_a"] @ params["lora_b"]
        found = lora.apply({"params": params}, x)
        np.testing.assert_allclose(found, x @ kernel + params["bias"], rtol=1e-4, atol=1e-5)

    def test_merges_into_the_layer(self):
        x = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
        lora = transformer.Linear(4, updates=transformer.LowRank(2, 8.0))
        params = {"qkv": random_like(lora.init(jax.random.key(1), x)["params"]), "gamma": x}
        merged = transformer.merge_low_rank(params, 8)
        assert set(merged["qkv"]) == {"kernel", "bias"}
        found = transformer.Linear(4).apply({"params": merged["qkv"]}, x)
        expected = lora.apply({"params": params["qkv"]}, x)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
