"""Attention, exact, in the form that the hardware computes fast.

Written as two products and a softmax, the scores of all pairs of tokens go through a GPU's memory,
in float32, several times. cuDNN has a kernel that never writes them down (flash attention, Dao et
al. 2022); it takes types of 16 bits.
"""

import jax
import jax.numpy as jnp
from jax import lax

from mtl_jax.layers import _derivatives, _platform

# What the kernel can take, see https://docs.nvidia.com/deeplearning/cudnn.
_TYPES = (jnp.bfloat16, jnp.float16)
_WIDEST_HEAD = 128
_LEAST_CAPABILITY = 8.0


def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """softmax(q kᵀ / √d) v for each head; the softmax in float32.

    Args:
      q, k, v: [B, N, heads, d] each, of one dtype.

    Returns:
      [B, N, heads, d] of that dtype.
    """
    width = q.shape[-1]
    fits = q.dtype in _TYPES and width % 8 == 0 and width <= _WIDEST_HEAD
    # Elsewhere JAX cannot so much as trace the kernel.
    if fits and _platform.cuda_capability() >= _LEAST_CAPABILITY:
        return lax.platform_dependent(q, k, v, cuda=_fused, default=plain)
    return plain(q, k, v)


def plain(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """As `attend`, operation by operation."""
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(scores * q.shape[-1] ** -0.5, axis=-1)
    return jnp.einsum("bhqk,bkhd->bqhd", weights.astype(v.dtype), v)


@jax.custom_vjp
def _fused(q, k, v):
    tokens = q.shape[1]
    if tokens % 2 == 0:
        return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")
    # Of an odd number of tokens, as with a class token, JAX has no gradient by this kernel: after
    # them comes one more, which none attends to.
    q, k, v = (jnp.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0))) for x in (q, k, v))
    lengths = jnp.full(q.shape[0], tokens, jnp.int32)
    y = jax.nn.dot_product_attention(
        q, k, v, key_value_seq_lengths=lengths, query_seq_lengths=lengths, implementation="cudnn"
    )
    return y[:, :tokens]


def _fused_forward(q, k, v):
    y, pullback = jax.vjp(_fused.fun, q, k, v)
    return y, (pullback, q, k, v)


def _fused_backward(residuals, gradient):
    return _slopes(*residuals, gradient)


_derivatives.define(_fused, _fused_forward, _fused_backward)


@jax.custom_jvp
def _slopes(pullback, q, k, v, gradient):
    """The gradients of q, k and v."""
    return pullback(gradient)


@_slopes.defjvp
def _slopes_along(primals, tangents):
    """The kernel's backward pass has no derivative, which Auto-Lambda asks for."""

    def plainly(q, k, v, gradient):
        return jax.vjp(plain, q, k, v)[1](gradient)

    return _slopes(*primals), jax.jvp(plainly, primals[1:], tangents[1:])[1]
