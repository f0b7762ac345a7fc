"""GELU and its gradient, beside the definition in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mtl_jax.layers import gelu


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gelu_and_its_gradient(dtype):
    """At a real size, inside jit; from where it is 0 to where it is x."""
    x = np.random.default_rng(0).uniform(-12, 12, (4, 513, 256))
    x = jnp.asarray(x, dtype).at[0, 0, :3].set(jnp.asarray([0.0, -40.0, 40.0], dtype))

    @jax.jit
    def both(x):
        y, pullback = jax.vjp(gelu, x)
        return y, pullback(2 * jnp.ones_like(y))[0]

    y, slope = both(x)
    assert y.dtype == slope.dtype == x.dtype
    x = np.asarray(x, np.float64)
    expected = x * stats.norm.cdf(x), 2 * (stats.norm.cdf(x) + x * stats.norm.pdf(x))
    digits = 1e-6 if dtype == "float32" else 2**-8
    for found, theirs in zip((y, slope), expected, strict=True):
        np.testing.assert_allclose(np.asarray(found, np.float64), theirs, rtol=digits, atol=1e-6)


def test_what_is_nearly_0_keeps_its_digits():
    x = np.array([-3.0, -5.0, -6.0, -9.0], np.float32)
    np.testing.assert_allclose(gelu(x), x * stats.norm.cdf(np.float64(x)), rtol=1e-5)


def test_what_came_in_is_all_that_is_kept():
    _, pullback = jax.vjp(gelu, jnp.zeros((8, 16), jnp.bfloat16))
    kept = jax.tree.leaves(pullback)
    assert [(array.shape, array.dtype) for array in kept] == [((8, 16), jnp.bfloat16)]
