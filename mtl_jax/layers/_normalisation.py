"""Normalisation by a batch's or a token's own statistics, with gradients of its own.

Differentiated step by step, mean and variance each send a gradient of their own back through all
values, one after the other. In closed form (Ioffe & Szegedy 2015) all of it depends on two sums
that are made side by side, and what is kept for it are the values that came in, in their own type.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from mtl_jax.layers import _derivatives, _platform

# An H100 has 50 MB; from there a second pass costs little, and less than more and smaller kernels.
_CACHE_BYTES = 2**25


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalise(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalises over all axes but the last.

    Args:
      x: [..., C], of any compute type; everything is computed in float32.
      scale, bias: float32 [C].
      epsilon: added to the variance.

    Returns:
      float32 [..., C]; the mean and the biased variance of the batch, float32 [C].
    """
    return _forward(x, scale, bias, epsilon)[0]


def _forward(x, scale, bias, epsilon):
    values = x.astype(jnp.float32)
    mean, var = _moments(x)
    y = (values - mean) * (scale * lax.rsqrt(var + epsilon)) + bias
    return (y, mean, var), (x, scale, mean, var)


def _moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance over all axes but the last, float32.

    The variance is the mean squared distance from the mean, in a pass of its own: E[x²] − E[x]²
    loses its digits where the mean is large. What does not fit in a GPU's cache is read once there
    for both, from distances d to the mean of every fourth row and column: var = E[d²] − E[d]². That
    mean of a sixteenth of the values is at most √16 standard deviations from the mean of all,
    whatever they are, so that E[d²] is at most 17 var, and no more than a digit is lost.
    """
    values, axes = x.astype(jnp.float32), tuple(range(x.ndim - 1))
    if not _platform.is_cuda() or x.ndim != 4 or x.nbytes < _CACHE_BYTES:
        mean = values.mean(axes)
        return mean, jnp.square(values - mean).mean(axes)
    near = values[:, ::4, ::4].mean(axes)
    distances = values - near
    further = distances.mean(axes)
    var = jnp.square(distances).mean(axes) - jnp.square(further)
    return near + further, jnp.maximum(var, 0)


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


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalise_tokens(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float) -> jax.Array:
    """Normalises over the last axis, each token by itself (Ba et al. 2016).

    Args:
      x: [..., C], of any compute type; everything is computed in float32.
      scale, bias: float32 [C].
      epsilon: added to the variance.

    Returns:
      float32 [..., C].
    """
    return _tokens_forward(x, scale, bias, epsilon)[0]


def _tokens_forward(x, scale, bias, epsilon):
    values = x.astype(jnp.float32)
    mean = values.mean(-1, keepdims=True)
    centred = values - mean
    inverse = lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + epsilon)
    return centred * inverse * scale + bias, (x, scale, mean, inverse)


def _tokens_backward(epsilon, residuals, gradient):
    x, scale, mean, inverse = residuals
    normal = (x.astype(jnp.float32) - mean) * inverse
    slope = gradient * scale
    along = (slope * normal).mean(-1, keepdims=True)
    towards = inverse * (slope - slope.mean(-1, keepdims=True) - normal * along)
    tokens = tuple(range(x.ndim - 1))
    return towards.astype(x.dtype), (gradient * normal).sum(tokens), gradient.sum(tokens)


_derivatives.define(normalise_tokens, _tokens_forward, _tokens_backward)
