"""Gradients of what is broadcast are summed up in float32."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from mtl_jax import layers
from mtl_jax.architectures import cross_stitch
from mtl_jax.heads import dpt, gates, linear, mlore
from mtl_jax.heads.aspp import ASPP
from mtl_jax.layers import broadcast, experts, transformer, transposed

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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("compiled", [jax.jit, lambda f: f], ids=["jit", "step by step"])
def test_a_pooled_branch_gets_the_sum_over_the_image(compiled, dtype):
    pooled = jnp.asarray(normal(8, 1, 1, 16), dtype)
    gradient = jnp.asarray(np.abs(normal(8, 48, 96, 16, seed=1)), dtype)

    @compiled
    def both(pooled, gradient):
        y, pullback = jax.vjp(lambda x: broadcast.broadcast_to(x, gradient.shape), pooled)
        return y, pullback(gradient)[0]

    y, found = both(pooled, gradient)
    np.testing.assert_array_equal(y, np.broadcast_to(pooled, gradient.shape))
    assert found.dtype == pooled.dtype
    expected = np.asarray(gradient, np.float64).sum((1, 2), keepdims=True)
    digits = 1e-5 if dtype == "float32" else 2**-8
    np.testing.assert_allclose(np.asarray(found, np.float64), expected, rtol=digits)


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


MAP = jnp.zeros((4, 16, 16, 32), jnp.bfloat16)
MODULES = {
    "convolution": lambda dtype: layers.Conv(32, 3, use_bias=True, dtype=dtype),
    "linear": lambda dtype: transformer.Linear(32, dtype=dtype),
    "dense": lambda dtype: layers.Dense(32, dtype=dtype),
    "squeeze": lambda dtype: layers.SqueezeExcitation(4, dtype=dtype),
    "layer scale": lambda dtype: transformer.LayerScale(),
    "transposed": lambda dtype: transposed.ConvTranspose(32, dtype=dtype),
    "pooled branch": lambda dtype: functools.partial(ASPP(channels=32, dtype=dtype), train=True),
    "experts": lambda dtype: (experts.Experts((8, 16), dtype), MAP, jnp.zeros((4, 2))),
    "cross-stitch": lambda dtype: (cross_stitch.Stitch(0.9, 0.1, dtype), [MAP] * 2),
    "mean of maps": lambda dtype: (functools.partial(mlore.Fusion(dtype), train=True), [MAP] * 2),
    # The class token is beside every patch of the image.
    "DPT": lambda dtype: (dpt.Reassemble(2, 16, dtype), MAP, MAP[:, 0, 0]),
    "bins": lambda dtype: (linear.LinearBins(0.1, 9.0, dtype), [MAP] * 2, [MAP[:, 0, 0]] * 2),
}


@pytest.mark.parametrize("name", MODULES)
def test_layers_sum_in_float32(name):
    made = MODULES[name](jnp.bfloat16)
    module, *given = made if isinstance(made, tuple) else (made, MAP)
    options = module.keywords if isinstance(module, functools.partial) else {}
    module = getattr(module, "func", module)
    variables = jax.eval_shape(functools.partial(module.init, **options), jax.random.key(0), *given)

    def loss(variables, given):
        found, _ = module.apply(variables, *given, mutable=["batch_stats"], **options)
        return sum(y.astype(jnp.float32).sum() for y in jax.tree.leaves(found))

    jaxpr = jax.make_jaxpr(jax.grad(loss, (0, 1)))(variables, given).jaxpr
    assert sums_in_bfloat16(jaxpr) == 0


def test_mixtures_sum_in_float32():
    maps = [jnp.zeros((2, 16, 16, 8), jnp.bfloat16)] * 3
    slopes = jax.grad(lambda weights: gates.mixed(maps, weights).astype(jnp.float32).sum())
    assert sums_in_bfloat16(jax.make_jaxpr(slopes)(jnp.zeros((2, 3))).jaxpr) == 0
