"""Gradients of what is broadcast are summed up in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from mtl_jax import layers
from mtl_jax.heads import dpt, gates, linear
from mtl_jax.layers import broadcast, transformer

SHAPES = [((8, 48, 96, 16), (16,)), ((8, 48, 96, 16), (8, 1, 1, 16)), ((4, 700, 32), (4, 700, 1))]


def normal(*shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("shape", "of_small"), SHAPES, ids=str)
@pytest.mark.parametrize("name", ["add", "multiply"])
@pytest.mark.parametrize("compiled", [jax.jit, lambda f: f], ids=["jit", "step by step"])
def test_both_gradients(name, shape, of_small, dtype, compiled):
    """At real sizes, inside jit, which may round less often than is written, and outside."""
    x, small = jnp.asarray(normal(*shape), dtype), normal(*of_small, seed=1)
    # All of one sign, as after a mean that a bias has to move.
    gradient = jnp.asarray(np.abs(normal(*shape, seed=2)), dtype)

    @compiled
    def both(x, small, gradient):
        y, pullback = jax.vjp(getattr(broadcast, name), x, small)
        return y, *pullback(gradient)

    y, of_x, of_small_ = both(x, small, gradient)
    assert y.dtype == of_x.dtype == x.dtype
    assert of_small_.dtype == np.float32
    exact, slope = (np.asarray(array, np.float64) for array in (x, gradient))
    other = np.broadcast_to(np.asarray(jnp.asarray(small, dtype), np.float64), shape)
    expected = (exact + other, slope) if name == "add" else (exact * other, slope * other)
    digits = 2e-7 if dtype == "float32" else 2**-8
    for found, theirs in zip((y, of_x), expected, strict=True):
        np.testing.assert_allclose(np.asarray(found, np.float64), theirs, rtol=digits, atol=1e-6)
    summed = slope if name == "add" else slope * exact
    ahead = len(shape) - len(of_small)
    axes = (*range(ahead), *(ahead + i for i, n in enumerate(of_small) if n == 1))
    summed = summed.sum(axes).reshape(of_small)
    np.testing.assert_allclose(of_small_, summed, rtol=1e-5, atol=1e-5 * np.abs(summed).max())


def test_a_pooled_branch_gets_the_sum_over_the_image():
    gradient = jnp.ones((2, 48, 96, 3), jnp.bfloat16)
    pooled = jnp.zeros((2, 1, 1, 3), jnp.bfloat16)
    y, pullback = jax.vjp(lambda pooled: broadcast.broadcast_to(pooled, gradient.shape), pooled)
    assert y.shape == gradient.shape
    np.testing.assert_array_equal(pullback(gradient)[0], np.full((2, 1, 1, 3), 48 * 96))


def sums_in_bfloat16(jaxpr) -> int:
    """Of more than 8 numbers each."""
    return sum(
        int(
            e.primitive.name == "reduce_sum"
            and e.outvars[0].aval.dtype == jnp.bfloat16
            and e.invars[0].aval.size > 8 * e.outvars[0].aval.size
        )
        + sum(map(sums_in_bfloat16, jaxprs_in_params(e.params)))
        for e in jaxpr.eqns
    )


MODULES = {
    "convolution": lambda dtype: layers.Conv(32, 3, use_bias=True, dtype=dtype),
    "linear": lambda dtype: transformer.Linear(32, dtype=dtype),
    "dense": lambda dtype: layers.Dense(32, dtype=dtype),
    "squeeze": lambda dtype: layers.SqueezeExcitation(4, dtype=dtype),
    "layer scale": lambda dtype: transformer.LayerScale(),
}


@pytest.mark.parametrize("name", MODULES)
def test_layers_sum_in_float32(name):
    module, x = MODULES[name](jnp.bfloat16), jnp.zeros((4, 16, 16, 32), jnp.bfloat16)
    params = jax.eval_shape(module.init, jax.random.key(0), x)
    slopes = jax.grad(lambda params, x: module.apply(params, x).astype(jnp.float32).sum(), (0, 1))
    jaxpr = jax.make_jaxpr(slopes)(params, jnp.zeros_like(x)).jaxpr
    assert sums_in_bfloat16(jaxpr) == 0


@pytest.mark.parametrize("head", ["dpt", "linear"])
def test_a_class_token_gets_a_sum_in_float32(head):
    """It is beside every patch of the image."""
    patches, token = jnp.zeros((2, 16, 8, 32), jnp.bfloat16), jnp.zeros((2, 32), jnp.bfloat16)
    if head == "dpt":
        module, given = dpt.Reassemble(2, 16, jnp.bfloat16), (patches, token)
    else:
        module, given = linear.LinearBins(0.1, 10.0, jnp.bfloat16), ([patches] * 2, [token] * 2)
    params = jax.eval_shape(module.init, jax.random.key(0), *given)

    def loss(params, given):
        return module.apply(params, *given).astype(jnp.float32).sum()

    jaxpr = jax.make_jaxpr(jax.grad(loss, (0, 1)))(params, given).jaxpr
    assert sums_in_bfloat16(jaxpr) == 0


def test_mixtures_sum_in_float32():
    maps = [jnp.zeros((2, 16, 16, 8), jnp.bfloat16)] * 3
    slopes = jax.grad(lambda weights: gates.mixed(maps, weights).astype(jnp.float32).sum())
    assert sums_in_bfloat16(jax.make_jaxpr(slopes)(jnp.zeros((2, 3))).jaxpr) == 0
