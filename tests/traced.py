"""Shapes of networks, of which each part is traced once, however many networks have it.

Most of the time of a trace goes into layers that are alike: the blocks of a stage, the heads of
tasks, the encoder of all networks that have it.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

_KNOWN = {}


def shapes(function, *args):
    """What `jax.eval_shape(function, *args)` gives, where `function` calls modules.

    A module with the same options, called with the same shapes, gives zeros of the shapes that it
    gave the first time, and has the variables that it had then.
    """
    with nn.intercept_methods(_traced_once):
        return jax.eval_shape(function, *args)


def _traced_once(next_call, args, kwargs, context):
    module = context.module
    if context.method_name != "__call__" or not isinstance(module.parent, nn.Module):
        return next_call(*args, **kwargs)
    names = {field.name for field in dataclasses.fields(module)} - {"name", "parent"}
    options = [(name, getattr(module, name)) for name in sorted(names)]
    if any(isinstance(leaf, nn.Module) for leaf in jax.tree.leaves(options)):
        return next_call(*args, **kwargs)  # which may be bound to variables of another's
    given, structure = jax.tree.flatten((args, kwargs))
    scope = module.scope
    known = (type(module), *options), (*map(_kind, given), structure)
    known = (*known, str(scope.mutable), *scope.rngs)
    try:
        hash(known)
    except TypeError:  # by an option that is a list
        return next_call(*args, **kwargs)
    if known not in _KNOWN:
        found = next_call(*args, **kwargs)
        _KNOWN[known] = jax.tree.map(_like, (found, dict(module.variables)))
        return found
    found, variables = _KNOWN[known]
    for collection, values in variables.items():
        if scope.is_mutable_collection(collection):
            for name, value in values.items():
                if not scope.has_variable(collection, name):
                    scope.put_variable(collection, name, jax.tree.map(_empty, value))
    return jax.tree.map(_zeros, found)


def _is_array(x) -> bool:
    return isinstance(x, jax.Array | np.ndarray | jax.ShapeDtypeStruct)


def _kind(x):
    """Of an array its shape and type; anything else as it is."""
    return (x.shape, x.dtype, getattr(x, "weak_type", False)) if _is_array(x) else x


def _like(x):
    return jax.ShapeDtypeStruct(x.shape, x.dtype) if _is_array(x) else x


def _zeros(x):
    return jnp.zeros(x.shape, x.dtype) if _is_array(x) else x


def _empty(x):
    """As `_zeros`, of one number's memory, and without a trace."""
    return np.broadcast_to(np.zeros((), x.dtype), x.shape)
