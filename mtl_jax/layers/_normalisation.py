"""Normalisation by a batch's own statistics, with a gradient of its own.

Differentiated step by step, mean and variance each send a gradient of their own back through all
values, one after the other. In closed form (Ioffe & Szegedy 2015) all of it depends on two sums
over the batch that are made side by side.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from mtl_jax.layers import _derivatives


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalise(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalises over all axes but the last.

    The variance is the mean squared distance from the mean, in a pass of its own: E[x²] − E[x]²
    loses its digits where few values are averaged or the mean is large.

    Args:
      x: [..., C], of any compute type; everything is computed in float32.
      scale, bias: float32 [C].
      epsilon: added to the variance.

    Returns:
      float32 [..., C]; the mean and the biased variance of the batch, float32 [C].
    """
    return _forward(x, scale, bias, epsilon)[0]


def _forward(x, scale, bias, epsilon):
    axes = tuple(range(x.ndim - 1))
    values = x.astype(jnp.float32)
    mean = values.mean(axes)
    var = jnp.square(values - mean).mean(axes)
    y = (values - mean) * (scale * lax.rsqrt(var + epsilon)) + bias
    return (y, mean, var), (x, scale, mean, var)


def _backward(epsilon, residuals, gradients):
    x, scale, mean, var = residuals
    gradient, of_mean, of_var = gradients
    axes = tuple(range(x.ndim - 1))
    count = x.size // x.shape[-1]
    centred = x.astype(jnp.float32) - mean
    inverse = lax.rsqrt(var + epsilon)
    total = gradient.sum(axes)
    along = (gradient * centred).sum(axes)
    factor = scale * inverse
    slope = (2 * of_var - factor * jnp.square(inverse) * along) / count
    shift = (of_mean - factor * total) / count
    towards = factor * gradient + slope * centred + shift
    return towards.astype(x.dtype), inverse * along, total


_derivatives.define(normalise, _forward, _backward)
