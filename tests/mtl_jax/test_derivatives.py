"""Derivatives of our own are not computed where no gradient comes back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from jax.interpreters import ad

from mtl_jax.layers import (
    _convolution,
    _depthwise,
    _derivatives,
    _normalisation,
    broadcast,
    gelu,
    resize,
    transposed,
)


def image(*shape) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def options(size: int) -> tuple:
    return 1, ((size, size), (size, size)), 1


MATRIX = np.abs(np.random.default_rng(1).normal(size=(5, 8)))
TAPS, TAPS_BACK = resize._Taps(MATRIX), resize._Taps(MATRIX.T)
OPERATIONS = {
    "pointwise": lambda x, a: _convolution._pointwise(x, a * image(3, 5)),
    "convolution": lambda x, a: _convolution._convolve(x, a * image(3, 3, 3, 5), *options(1)),
    "depthwise": lambda x, a: _depthwise._convolve(x, a * image(3, 3, 1, 3), *options(1)),
    "transposed": lambda x, a: transposed._product(x, a * image(3, 5)),
    "tokens": lambda x, a: _normalisation.normalise_tokens(x, a * image(3), a * image(3), 1e-5),
    "gelu": lambda x, a: gelu(a * x),
    "sum": lambda x, a: broadcast.add(x, a * image(3)),
    "product": lambda x, a: broadcast.multiply(x, a * image(3)),
    "pooled": lambda x, a: broadcast.broadcast_to(a * image(1, 1, 1, 3), x.shape),
    "resized": lambda x, a: resize._weighted_sum(a * x, 1, TAPS, TAPS_BACK),
    "normalised": lambda x, a: _normalisation.normalise(x, a * image(3), a * image(3), 1e-5)[0],
}


def nothing(x: jax.Array):
    return ad.Zero(jax.typeof(x).to_tangent_aval())


def equations(jaxpr) -> int:
    return sum(1 + sum(map(equations, jaxprs_in_params(found.params))) for found in jaxpr.eqns)


@pytest.mark.parametrize("name", OPERATIONS)
def test_nothing_is_computed_of_a_loss_that_is_not_asked_for(name):
    def losses(scale):
        y = jnp.tanh(OPERATIONS[name](scale * image(2, 8, 8, 3), scale))
        return jnp.square(y).sum(), 3 * scale

    def gradient(scale, of_first):
        (first, _), pullback = jax.vjp(losses, scale)
        return pullback((jnp.float32(1), jnp.float32(0)) if of_first else (nothing(first), 1.0))[0]

    forward = equations(jax.make_jaxpr(lambda scale: jax.vjp(losses, scale)[0])(1.5).jaxpr)
    assert equations(jax.make_jaxpr(gradient, static_argnums=1)(1.5, False).jaxpr) <= forward + 1
    assert equations(jax.make_jaxpr(gradient, static_argnums=1)(1.5, True).jaxpr) > forward + 5
    np.testing.assert_allclose(jax.jit(gradient, static_argnums=1)(1.5, False), 3.0)
    step = 1e-3
    high, low = (jax.jit(losses)(1.5 + sign * step)[0] for sign in (1, -1))
    found = jax.jit(gradient, static_argnums=1)(1.5, True)
    np.testing.assert_allclose(found, (high - low) / (2 * step), rtol=2e-2, atol=1e-2)


def test_two_heads_at_full_size_as_with_zeros():
    """Each head's gradient, beside the one that goes back through the other with zeros."""

    def losses(scale, x):
        x = OPERATIONS["normalised"](OPERATIONS["depthwise"](x, scale), scale)
        first = OPERATIONS["convolution"](x, scale)
        second = OPERATIONS["transposed"](x, scale) - OPERATIONS["pointwise"](x, scale**2)
        return jnp.sin(first).mean(), jnp.sin(second).mean()

    @jax.jit
    def gradients(scale, x):
        (first, second), pullback = jax.vjp(losses, scale, x)
        found = pullback((1.0, nothing(second))), pullback((nothing(first), 1.0))
        zero, one = jax.lax.optimization_barrier((jnp.float32(0), jnp.float32(1)))
        return found, (pullback((one, zero)), pullback((zero, one)))

    found, expected = gradients(jnp.float32(1.5), image(8, 96, 192, 3))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-9)
        assert np.abs(b).max() > 1e-7


@pytest.mark.parametrize("around", [lambda f: f, jax.jit, jax.checkpoint], ids=["", "jit", "remat"])
def test_backward_is_called_for_what_is_asked_for(around):
    calls = []
    double = jax.custom_vjp(lambda x: 2 * x)

    def backward(_, gradient):
        calls.append(gradient)
        return (2 * gradient,)

    _derivatives.define(double, lambda x: (double(x), ()), backward)
    losses = around(lambda x: (double(x), double(3 * x)))
    (first, _), pullback = jax.vjp(losses, jnp.float32(1))
    assert pullback((nothing(first), jnp.float32(1)))[0] == 6
    assert len(calls) == 1
    assert pullback((jnp.float32(1), jnp.float32(1)))[0] == 8


def test_an_output_without_a_gradient_counts_as_zero():
    """The statistics of a batch are outputs, too."""
    x, scale = image(2, 4, 4, 3), image(3)

    def loss(x, scale, epsilon=1e-5):
        return jnp.sum(jnp.sin(_normalisation.normalise(x, scale, scale, epsilon)[0]))

    def plain(x, scale):
        x, scale = x.astype(np.float64), scale.astype(np.float64)
        centred = x - x.mean((0, 1, 2))
        return np.sum(
            np.sin(centred / np.sqrt(np.square(centred).mean((0, 1, 2)) + 1e-5) * scale + scale)
        )

    found = jax.jit(jax.grad(loss))(x, scale)
    for place in [(0, 1, 2, 0), (1, 3, 0, 2)]:
        step = np.zeros(x.shape)
        step[place] = 1e-5
        expected = (plain(x + step, scale) - plain(x - step, scale)) / 2e-5
        np.testing.assert_allclose(found[place], expected, rtol=1e-4, atol=1e-5)
