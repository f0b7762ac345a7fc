"""Shapes of networks whose encoder is traced once, however many networks have it."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from mtl_jax import encoders


def encoder_traced_once():
    """Within it, an encoder that a network calls gives zeros of the shapes that it has.

    The network's own variables then lack the encoder's.
    """
    return nn.intercept_methods(_zeros)


def _zeros(next_call, args, kwargs, context):
    module = context.module
    called_by_another = isinstance(module.parent, nn.Module) and not _is_encoder(module.parent)
    if context.method_name != "__call__" or not _is_encoder(module) or not called_by_another:
        return next_call(*args, **kwargs)
    features = _features(module.clone(parent=None, name=None), args[0].shape)
    return jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), features)


def _is_encoder(module) -> bool:
    """Whether it is an encoder, or a part of one."""
    return type(module).__module__.startswith(f"{encoders.__name__}.")


@functools.cache
def _features(encoder: nn.Module, shape) -> encoders.Pyramid:
    init = functools.partial(encoder.init_with_output, jax.random.key(0), train=False)
    return jax.eval_shape(init, jax.ShapeDtypeStruct(shape, jnp.float32))[0]
