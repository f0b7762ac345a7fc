"""Activations that JAX differentiates at the cost of too much memory."""

import jax
import jax.numpy as jnp
from jax import lax

from mtl_jax.layers import _derivatives


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """x Φ(x), the exact form (Hendrycks & Gimpel 2016), of any shape and floating type.

    It is computed in float32 at least. What is kept for the gradient is x alone, in its own type;
    differentiated step by step, of the MLPs of a transformer, several arrays of four times its
    width are.
    """
    wide = _wide(x)
    return (wide * _cumulative(wide)).astype(x.dtype)


def _forward(x):
    return gelu(x), x


def _backward(x, gradient):
    """Φ(x) + x φ(x)."""
    wide = _wide(x)
    density = jnp.exp(-jnp.square(wide) / 2) * (2 * jnp.pi) ** -0.5
    return (((_cumulative(wide) + wide * density) * gradient).astype(x.dtype),)


_derivatives.define(gelu, _forward, _backward)


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _cumulative(x: jax.Array) -> jax.Array:
    return lax.erfc(-x * 0.5**0.5) / 2
