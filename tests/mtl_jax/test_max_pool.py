"""The CPU's own form of max-pooling's gradient against XLA's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtl_jax.layers import _max_pool


@pytest.mark.parametrize(
    ("size", "window", "stride", "padding"),
    [
        ((7, 8), 3, 2, ((1, 1), (1, 1))),
        ((8, 5), 2, 2, ((0, 0), (0, 1))),
        ((9, 6), 3, 2, ((0, 0), (0, 1))),
        ((8, 9), 2, 3, ((0, 0), (0, 0))),  # no window has the rows and columns between and behind
        ((5, 4), 4, 1, ((2, 1), (1, 2))),
        ((2, 1), 3, 2, ((1, 1), (1, 1))),
    ],
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_gradient(size, window, stride, padding, dtype):
    """Few values, so that many windows have several maxima: the first of them counts."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(-2, 1, (2, *size, 3)), dtype)
    y = _max_pool.max_pool(x, window, stride, padding)
    cotangent = jnp.asarray(rng.integers(-8, 9, y.shape), dtype)  # whose sums are exact

    @functools.partial(jax.jit, static_argnums=0)
    def gradient(pool, x, cotangent):
        return jax.vjp(lambda x: pool(x, window, stride, padding), x)[1](cotangent)[0]

    found = gradient(_max_pool.max_pool, x, cotangent)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, gradient(_max_pool.max_pool.fun, x, cotangent))


def test_other_platforms_keep_xlas_gradient():
    def pooled(x):
        return _max_pool.max_pool(x, 2, 2, ((0, 0), (0, 0))).sum()

    traced = jax.jit(jax.grad(pooled)).trace(jnp.zeros((1, 8, 8, 2)))
    scatters = {
        platform: "select_and_scatter" in traced.lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda")
    }
    assert scatters == {"cpu": False, "cuda": True}
