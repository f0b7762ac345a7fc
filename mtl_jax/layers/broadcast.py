"""Sums and products with a small array, whose gradient is summed up in float32.

The gradient of a bias is the sum over all positions of all images, of a gate over those of one.
JAX sums in the type of the gradient: in bfloat16, which has 8 bits, a sum of a thousand equal
numbers stops at 256 of them.
"""

import functools

import jax
import jax.numpy as jnp

from mtl_jax.layers import _derivatives


@jax.custom_vjp
def add(x: jax.Array, small: jax.Array) -> jax.Array:
    """x + small, of the type and the shape of x, to which `small` is broadcast."""
    return x + small.astype(x.dtype)


def _add_backward(small, gradient):
    return gradient, _sum_to(gradient, small)


_derivatives.define(add, lambda x, small: (add(x, small), small), _add_backward)


@jax.custom_vjp
def multiply(x: jax.Array, small: jax.Array) -> jax.Array:
    """x · small, of the type and the shape of x, to which `small` is broadcast."""
    return x * small.astype(x.dtype)


def _multiply_backward(given, gradient):
    x, small = given
    wide = jnp.promote_types(x.dtype, jnp.float32)
    of_small = gradient.astype(wide) * x.astype(wide)
    return gradient * small.astype(x.dtype), _sum_to(of_small, small)


_derivatives.define(multiply, lambda x, small: (multiply(x, small), (x, small)), _multiply_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def broadcast_to(small: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """As `jnp.broadcast_to`."""
    return jnp.broadcast_to(small, shape)


def _broadcast_to_backward(shape, small, gradient):
    del shape
    return (_sum_to(gradient, small),)


_derivatives.define(
    broadcast_to, lambda small, shape: (broadcast_to(small, shape), small), _broadcast_to_backward
)


def _sum_to(gradient: jax.Array, small: jax.Array) -> jax.Array:
    """Of the shape and the type of `small`."""
    wide = gradient.astype(jnp.promote_types(gradient.dtype, jnp.float32))
    ahead = wide.ndim - small.ndim
    ones = [axis + ahead for axis, n in enumerate(small.shape) if n == 1]
    axes = (*range(ahead), *(axis for axis in ones if wide.shape[axis] != 1))
    return wide.sum(axes).reshape(small.shape).astype(small.dtype)
