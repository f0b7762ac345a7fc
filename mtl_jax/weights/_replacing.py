"""A fresh state with arrays of other networks in it."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax

from mtl_jax.train_state import TrainState


def with_arrays(
    state: TrainState, new: Mapping[Any, Any], name: Callable[[tuple], Any]
) -> TrainState:
    """The state with some of the model's arrays replaced; each lies where the old one did.

    Args:
      state: before the first step.
      new: {name: array} of what is replaced, in `TrainState.variables`.
      name: what a path in that tree is called in `new`.
    """
    variables = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jax.device_put(new.get(name(path), leaf), leaf.sharding),
        state.variables,
    )
    return dataclasses.replace(
        state,
        params={**state.params, "model": variables["params"]},
        batch_stats=variables["batch_stats"],
    )
