"""BatchNorm's own gradient beside the definition in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtl_jax.layers import _normalisation

EPSILON = 1e-3


def reference(x, scale, bias, gradients):
    """Outputs, and gradients by their chain rule over every value, in float64."""
    x, scale, bias = (np.float64(array) for array in (x, scale, bias))
    gradient, of_mean, of_var = (np.float64(array) for array in gradients)
    count, axes = x.size // x.shape[-1], tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    var = np.square(x - mean).mean(axes)
    root = np.sqrt(var + EPSILON)
    of_root = (-gradient * scale * (x - mean) / root**2).sum(axes)
    of_var = of_var + of_root / (2 * root)
    of_centred = gradient * scale / root + of_var * 2 * (x - mean) / count
    of_x = of_centred + (of_mean - of_centred.sum(axes)) / count
    found = of_x, (gradient * (x - mean) / root).sum(axes), gradient.sum(axes)
    return ((x - mean) / root * scale + bias, mean, var), found


@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_outputs_and_gradients_are_those_of_the_definition(offset):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(3, 5, 7, 4)) * [0.1, 1, 2, 5] + offset).astype(np.float32)
    scale, bias = rng.normal(size=(2, 4)).astype(np.float32)
    gradients = tuple(rng.normal(size=shape).astype(np.float32) for shape in (x.shape, (4,), (4,)))
    outputs, pullback = jax.vjp(lambda *a: _normalisation.normalise(*a, EPSILON), x, scale, bias)
    expected, expected_gradients = reference(x, scale, bias, gradients)
    found = pullback(gradients)
    for ours, theirs in zip((*outputs, *found), (*expected, *expected_gradients), strict=True):
        tolerance = 2e-6 * (1 + offset) * np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


def test_a_gradient_has_the_type_of_what_it_is_of():
    x = jnp.ones((2, 3, 4), jnp.bfloat16)
    outputs, pullback = jax.vjp(
        lambda x: _normalisation.normalise(x, jnp.ones(4), jnp.zeros(4), EPSILON), x
    )
    assert [output.dtype for output in outputs] == [jnp.float32] * 3
    assert pullback(outputs)[0].dtype == jnp.bfloat16


@pytest.mark.parametrize("offset", [0.0, 30.0])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_tokens_and_their_gradients_are_those_of_the_definition(dtype, offset):
    """At a real size, inside jit, beside float64: the chain rule over every value."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 513, 384)) + offset, dtype)
    scale, bias = rng.normal(size=(2, 384)).astype(np.float32)
    gradient = rng.normal(size=x.shape).astype(np.float32)

    @jax.jit
    def both(*args):
        y, pullback = jax.vjp(lambda *a: _normalisation.normalise_tokens(*a, EPSILON), *args)
        return y, *pullback(jnp.asarray(gradient))

    found = both(x, scale, bias)
    assert [array.dtype for array in found] == [jnp.float32, x.dtype, jnp.float32, jnp.float32]
    values = np.asarray(x, np.float64)
    centred = values - values.mean(-1, keepdims=True)
    root = np.sqrt(np.square(centred).mean(-1, keepdims=True) + EPSILON)
    of_centred = gradient * np.float64(scale) / root
    of_root = -(gradient * np.float64(scale) * centred / root**2).sum(-1, keepdims=True)
    of_centred = of_centred + of_root / root * centred / x.shape[-1]
    of_x = of_centred - of_centred.mean(-1, keepdims=True)
    of_scale = (gradient * centred / root).sum((0, 1))
    expected = centred / root * scale + bias, of_x, of_scale, np.float64(gradient).sum((0, 1))
    for ours, theirs, rounds in zip(found, expected, (0, 1, 0, 0), strict=True):
        digits = 2**-8 if rounds and dtype == "bfloat16" else 4e-6 * (1 + offset)
        tolerance = digits * np.abs(theirs).max()
        np.testing.assert_allclose(np.asarray(ours, np.float64), theirs, rtol=0, atol=tolerance)


def test_of_tokens_little_is_kept():
    """What came in, in its own type, and two numbers for each token."""
    x = jnp.ones((4, 6, 32), jnp.bfloat16)
    scale, bias = jnp.ones(32), jnp.zeros(32)
    _, pullback = jax.vjp(lambda x: _normalisation.normalise_tokens(x, scale, bias, EPSILON), x)
    wide = [a for a in jax.tree.leaves(pullback) if a.size == x.size]
    assert [array.dtype for array in wide] == [jnp.bfloat16]
