"""A traced function computed anew: in float32 or float64, and without gradient rules of its own.

What `jax.grad` makes of the result is XLA's plain gradient of every operation, and in float64 it is
an oracle for the whole network: same function, same constants, no rounding that matters.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

FLOAT32, FLOAT64 = np.dtype("float32"), np.dtype("float64")
_CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat", "checkpoint")

_SCATTERS = {
    "scatter": jax.lax.scatter,
    "scatter-add": jax.lax.scatter_add,
    "scatter-max": jax.lax.scatter_max,
    "scatter-min": jax.lax.scatter_min,
}
# JAX's own rules stay: what they say where two sides meet (ReLU's 0 at 0) is a definition.
_JAX = {"relu": jax.nn.relu, "relu6": jax.nn.relu6, "logaddexp": jnp.logaddexp}


def in_precision(function: Callable, dtype: np.dtype, *like) -> Callable:
    """`function`, with `dtype` wherever it says float32.

    Args:
      function: arrays to a tree of arrays; its trace may call other functions and nothing else that
        holds a program (no loop, no branch).
      dtype: float32 or float64; for the latter call the result under `jax.enable_x64(True)`.
      like: arguments, or their shapes, that `function` is traced with.

    Returns:
      A function of arguments like `like`, whose float32 arrays may be `dtype` instead.
    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*like)

    def evaluated(*args):
        args = [_raised(x, dtype) for x in jax.tree.leaves(args)]
        return jax.tree.unflatten(jax.tree.structure(shape), _evaluate(closed, args, dtype))

    return evaluated


def gradient(
    loss: Callable, params: Any, dtype: np.dtype, *rest, compiler_options: dict | None = None
) -> Callable[..., Any]:
    """(params, *rest) ─► gradient of the scalar `loss(params, *rest)`: NumPy arrays of `dtype`."""
    compiled = jax.jit(
        jax.grad(in_precision(loss, dtype, params, *rest)), compiler_options=compiler_options
    )

    def of(*args):
        with jax.enable_x64(dtype == FLOAT64):
            args = jax.tree.map(lambda x: _raised(x, dtype), args)
            return jax.tree.map(np.asarray, compiled(*args))

    return of


def _raised(x, dtype):
    return jnp.asarray(x, dtype) if jnp.result_type(x) in (FLOAT32, FLOAT64) else x


def _evaluate(closed: core.ClosedJaxpr, args: list, dtype: np.dtype) -> list:
    """The outputs of a program whose float32 arrays are `dtype`."""

    def read(variable):
        if isinstance(variable, core.Literal):
            return _raised(jnp.asarray(variable.val, variable.aval.dtype), dtype)
        return known[variable]

    jaxpr = closed.jaxpr
    known = dict(zip(jaxpr.constvars, (_raised(x, dtype) for x in closed.consts), strict=True))
    known |= zip(jaxpr.invars, args, strict=True)
    for equation in jaxpr.eqns:
        outputs = _apply(equation, [read(variable) for variable in equation.invars], dtype)
        known |= zip(equation.outvars, outputs, strict=True)
    return [read(variable) for variable in jaxpr.outvars]


def _apply(equation, inputs: list, dtype: np.dtype) -> list:
    """The outputs of one operation."""
    name, params = equation.primitive.name, equation.params
    if name in _CALLS:
        inner = params.get("jaxpr") or params["call_jaxpr"]
        jax_function = _JAX.get(inner.jaxpr.debug_info.func_name)
        return [jax_function(*inputs)] if jax_function else _evaluate(inner, inputs, dtype)
    if name in _SCATTERS:  # which hold a program of one addition or comparison
        options = ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")
        return [_SCATTERS[name](*inputs, **{key: params[key] for key in options})]
    if name == "platform_index":  # of the forms of `lax.platform_dependent`, that for this platform
        here = jax.default_backend()
        forms = enumerate(params["platforms"])
        return [next(index for index, names in forms if names is None or here in names)]
    if name == "cond" and isinstance(inputs[0], int):
        return _evaluate(params["branches"][inputs[0]], inputs[1:], dtype)
    if any(isinstance(x, core.ClosedJaxpr | core.Jaxpr) for x in jax.tree.leaves(params)):
        raise NotImplementedError(f"{name} holds a program; _apply knows {', '.join(_CALLS)}.")
    if name == "bitcast_convert_type":  # random bits to a float32, which is exact
        return [_raised(equation.primitive.bind(*inputs, **params), dtype)]
    raised = {k: dtype if _is_float32(v) else v for k, v in params.items()}
    outputs = equation.primitive.bind(*inputs, **raised)
    return outputs if equation.primitive.multiple_results else [outputs]


def _is_float32(x) -> bool:
    return isinstance(x, np.dtype | type) and x == FLOAT32
