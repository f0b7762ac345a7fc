"""Which tasks a parameter serves, read from the graph and not from one batch's gradients."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal

_CALLS = ("jit", "pjit", "closed_call", "checkpoint", "remat2", "custom_jvp_call")


def reached(losses_of: Callable[..., Any], params: Any, *args: Any) -> list[np.ndarray]:
    """For each array of `params`, which of the losses depend on it.

    An array is shared if more than one does. What a batch has labels of makes no difference.

    Args:
      losses_of: (params, *args) ─► pytree of K losses.
      params: pytree of arrays, or of their shapes.
      args: what else `losses_of` takes; only shapes matter.

    Returns:
      One [K] bool array for each leaf of `params`.

    >>> params = {"trunk": 1.0, "depth": 2.0, "parts": 3.0}
    >>> def losses(params):
    ...     z = jax.numpy.tanh(params["trunk"])
    ...     return [z * params["depth"], z * params["parts"]]
    >>> [[bool(task) for task in leaf] for leaf in reached(losses, params)]  # keys are sorted
    [[True, False], [False, True], [True, True]]
    """
    closed, _ = jax.make_jaxpr(losses_of, return_shape=True)(params, *args)
    count = len(jax.tree.leaves(params))
    return list(np.stack(_dependencies(closed.jaxpr), axis=1)[:count])


def _dependencies(jaxpr) -> list[np.ndarray]:
    """For each output, a bool array over the inputs: whether it depends on them."""
    inputs = len(jaxpr.invars)
    nothing = np.zeros(inputs, bool)
    known = dict.fromkeys(jaxpr.constvars, nothing)
    known |= {var: np.arange(inputs) == index for index, var in enumerate(jaxpr.invars)}

    def of(var):
        return nothing if isinstance(var, Literal) else known[var]

    for equation in jaxpr.eqns:
        given = [of(var) for var in equation.invars]
        inner = _called(equation)
        if inner is None:
            outputs = [np.any(given, axis=0) if given else nothing] * len(equation.outvars)
        else:
            table = np.stack(given) if given else np.zeros((0, inputs), bool)
            outputs = [np.any(table[row], axis=0) for row in _dependencies(inner)]
        known |= dict(zip(equation.outvars, outputs, strict=True))
    return [of(var) for var in jaxpr.outvars]


def _called(equation):
    """The body of a call whose arguments and results are the equation's own, or None.

    Of loops and branches every result is taken to depend on every argument.
    """
    body = equation.params.get("jaxpr") or equation.params.get("call_jaxpr")
    body = getattr(body, "jaxpr", body)
    if body is None or equation.primitive.name not in _CALLS:
        return None
    return body
