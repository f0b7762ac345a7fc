"""Weightings: how the losses of several tasks become one direction of descent, one module each.

A library: pure functions over pytrees, without a config, a data set or TensorFlow.

>>> method = weightings.make("pcgrad", tasks=("semseg", "depth"))
>>> gradients = [{"w": jnp.array([-4.0, 1.0, 1.0])}, {"w": jnp.array([6.0, 1.0, 1.0])}]
>>> losses, labelled = jnp.array([1.2, 0.4]), jnp.array([True, True])
>>> params, state = method.init(jax.random.key(0), like=gradients[0])
>>> gradient, weights, _, state = method.combine(
...     params, state, gradients, losses, labelled, jax.random.key(1)
... )
>>> print(weights, gradient["w"])
[2.222 1.579] [0.585 3.801 3.801]

Parameters are pytrees, here those of a Linen module:

>>> from flax import linen, nnx
>>> x = jnp.array([[1.0, 2.0, 3.0]])
>>> trunk = linen.Dense(2, use_bias=False)
>>> shared = {"params": {"kernel": jnp.ones((3, 2))}}  # as of trunk.init(key, x)
>>> def loss(shared, task):
...     return jnp.sum((trunk.apply(shared, x)[:, task] - 3 * task) ** 2) / 2
>>> gradients = [jax.grad(loss)(shared, task) for task in range(2)]
>>> gradient, *_ = method.combine(params, state, gradients, losses, labelled, jax.random.key(1))
>>> print(gradient["params"]["kernel"].T)
[[ 6. 12. 18.]
 [ 3.  6.  9.]]

and here the state of an NNX module:

>>> graph, shared = nnx.split(nnx.Linear(3, 2, use_bias=False, rngs=nnx.Rngs(0)))
>>> shared = jax.tree.map(jnp.ones_like, shared)
>>> def loss(shared, task):
...     return jnp.sum((nnx.merge(graph, shared)(x)[:, task] - 3 * task) ** 2) / 2
>>> gradients = [jax.grad(loss)(shared, task) for task in range(2)]
>>> gradient, *_ = method.combine(params, state, gradients, losses, labelled, jax.random.key(1))
>>> print(gradient["kernel"][...].T)
[[ 6. 12. 18.]
 [ 3.  6.  9.]]
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mtl_jax import _discovery, _options
from mtl_jax.weightings._base import (
    GradientWeighting,
    Params,
    Weighting,
    inner_products,
    weighted_sum,
)
from mtl_jax.weightings._gram import RESIDUAL_LIMIT, GramWeighting, Weights
from mtl_jax.weightings._reach import reached

__all__ = [
    "PART",
    "RESIDUAL_LIMIT",
    "GradientWeighting",
    "GramWeighting",
    "Params",
    "Weighting",
    "Weights",
    "build",
    "declared",
    "inner_products",
    "make",
    "names",
    "reached",
    "weighted_sum",
]

_KEY = "config.weighting"
PART = _options.Part(sys.modules[__name__], "fixed", "how the tasks' losses are balanced")


def names() -> list[str]:
    """The methods that there are: the modules of this package."""
    return _discovery.names(sys.modules[__name__])


def kind(name: str) -> type[Weighting]:
    """The class of a method.

    Raises:
      ConfigError: no method has that name.
    """
    module = _discovery.load(sys.modules[__name__], name, key=f"{_KEY}.name")
    (found,) = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Weighting)
        and value.__module__ == module.__name__
    ]
    return found


def declared(name: str) -> dict[str, _options.Option]:
    """{option: its default, meaning and check} of a method."""
    return _options.declared(kind(name))


def make(name: str, tasks: Sequence[str], **options: Any) -> Weighting:
    """A method for tasks of these names.

    Raises:
      ConfigError: an impossible value of an option.
      TypeError: an unknown option.
    """
    return kind(name)(tasks=tuple(tasks), **options)


def build(config: Mapping[str, Any], tasks: Mapping[str, Any]) -> Weighting:
    """The method that a config describes.

    Args:
      config: `config.weighting`: `name`, and the method's options.
      tasks: {name: Task}.

    Raises:
      ConfigError: no weighting has that name, or an option is unknown or impossible.
    """
    options = _options.complete_part(config, PART, key=_KEY)
    method = kind(options.pop("name"))
    return method(tasks=tuple(tasks), **method.fields_of(options, tasks))
