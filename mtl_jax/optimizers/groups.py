"""Which group a parameter belongs to: whose images it learns from, which rate it has."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from mtl_jax import layers

COMMON = "common"  # the group of all parameters that no single task owns


def names_of(path: tuple) -> list[str]:
    """The names along a path of the parameters' tree: ['model', 'encoder', 'conv1', 'kernel']."""
    return [str(getattr(key, "key", key)) for key in path]


def part_of(path: tuple) -> str:
    """Which learning rate a parameter has: that of the 'encoder', the 'weighting' or the 'rest'."""
    names = names_of(path)
    if names[0] == "weighting":
        return "weighting"
    return "encoder" if is_encoder(names[1]) else "rest"


def is_encoder(module: str) -> bool:
    """Whether a top-level module of a network is an encoder.

    It is called 'encoder'; of several each is called 'encoder_<name>'.
    """
    return module == "encoder" or module.startswith("encoder_")


def group_of(path: tuple, tasks: Sequence[str]) -> str:
    """Whose images a parameter learns from: a task's name, or 'common'.

    A module of a task alone is called <kind>_<task> or <kind>_<task>_<detail>, as 'head_semseg' or
    'mask_depth_2'; one that hands features from a task to another is called <kind>_<task>_to_<task>
    and belongs to the latter, whose loss it serves. All else is shared: an encoder of a task's own
    too, as others receive its features, and what a weighting learns. Of two tasks that fit, as
    'depth' and 'depth_far', the longer name is meant.
    """
    top, module = names_of(path)[:2]
    if is_encoder(module):
        return COMMON
    owner = module.rpartition("_to_")[2] if "_to_" in module else module.partition("_")[2]
    fitting = [task for task in tasks if owner == task or owner.startswith(f"{task}_")]
    return max(fitting, key=len) if top == "model" and fitting else COMMON


def modules_of(model: nn.Module, kind: type[nn.Module]) -> frozenset[tuple[str, ...]]:
    """The paths of a network's modules of one class, e.g. ('encoder', 'layer1_0', 'bn1').

    Args:
      model: an architecture; it is traced, nothing is computed.
      kind: e.g. `layers.BatchNorm`.
    """
    found = set()

    def note(call, args, kwargs, context):
        if isinstance(context.module, kind):
            found.add(tuple(context.module.path))
        return call(*args, **kwargs)

    init = functools.partial(model.init, train=False)
    with nn.intercept_methods(note):
        size = layers.image_sizes(model).fitting((64, 64))
        jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, *size, 3), jnp.float32))
    return frozenset(found)


def is_norm(params: Any) -> Any:
    """A tree like `params` of bools: whether it is scale or bias of a normalisation.

    Nothing else has a scale, and the bias beside it belongs to it.
    """
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    owners = {tuple(names_of(path)[:-1]) for path in paths if names_of(path)[-1] == "scale"}
    return jax.tree_util.tree_map_with_path(
        lambda path, _: tuple(names_of(path)[:-1]) in owners, params
    )


def scale_by_part(
    scales: Mapping[str, float], bias_scale: float = 0.0
) -> optax.GradientTransformation:
    """Multiplies each parameter's update by its part's factor.

    Args:
      scales: {part: factor}.
      bias_scale: if not 0, the biases of 'rest' that are not a normalisation's have the factor
        `bias_scale · scales['encoder']` instead.
    """

    def factor(path, of_norm: bool) -> float:
        part = part_of(path)
        is_bias = names_of(path)[-1] == "bias" and not of_norm
        if bias_scale and part == "rest" and is_bias:
            return bias_scale * scales["encoder"]
        return scales[part]

    def update(updates, state, params=None):
        del params
        return jax.tree_util.tree_map_with_path(
            lambda path, value, norm: value * factor(path, norm), updates, is_norm(updates)
        ), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
