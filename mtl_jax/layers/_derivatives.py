"""Derivatives of our own, which are not computed where none comes back.

A method that asks for each task's gradient goes back from one loss at a time. JAX passes over what
is before the other losses, but not over a `jax.custom_vjp`: that is computed with zeros, and all
before it with what it makes of them, so that a step goes back through every head a second time.
"""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero


def define(function: Any, forward: Callable, backward: Callable) -> None:
    """As `function.defvjp(forward, backward)`, which knows of gradients that are 0 by their type.

    Args:
      function: of `jax.custom_vjp`.
      forward, backward: as there; `backward` is not called if all gradients are 0, and of others
        gets 0 as an array.
    """
    count = len(inspect.signature(function.fun).parameters) - len(function.nondiff_argnums)

    def forward_of_values(*args):
        return forward(*(a.value if isinstance(a, CustomVJPPrimal) else a for a in args))

    def backward_unless_zero(*args):
        *given, gradients = args
        if all(map(_is_zero, jax.tree.leaves(gradients))):
            return (None,) * count
        return backward(*given, jax.tree.map(_array, gradients))

    function.defvjp(forward_of_values, backward_unless_zero, symbolic_zeros=True)


def _is_zero(gradient: Any) -> bool:
    return isinstance(gradient, SymbolicZero)


def _array(gradient: Any) -> jax.Array:
    return jnp.zeros(gradient.shape, gradient.dtype) if _is_zero(gradient) else gradient
