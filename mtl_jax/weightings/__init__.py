"""Weightings: how the losses of several tasks become one direction of descent, one module each."""

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mtl_jax import _discovery, _options

PART = _options.Part(sys.modules[__name__], "fixed", "how the tasks' losses are balanced")
PerTask = dict[str, jax.Array]
Params = dict[str, PerTask]


@dataclasses.dataclass(frozen=True)
class Weighting:
    """What every weighting does. All methods are pure and may be traced by `jax.jit`.

    A method that only weighs losses implements `combine`. A method that needs every task's own
    gradient sets `needs_gradients` and implements `combine_gradients` too. Whatever is random comes
    from the `key` of the step, so that nothing random has to be saved.

    A task without a label in a batch does not count: neither its loss, which is 0, nor anything
    else about it moves the model or the method's parameters.

    Attributes:
      tasks: the tasks' names.
    """

    tasks: tuple[str, ...]
    needs_gradients: ClassVar[bool] = False

    def init(self, key: jax.Array) -> tuple[Params, Any]:
        """Returns (params, state); both empty by default.

        Args:
          key: PRNG key.

        Returns:
          params: {quantity: {task: float32 scalar}}, what the optimizer trains. Each appears in
            the logs as train/<quantity>/<task> and in results.json.
          state: a pytree, everything else that the method remembers from step to step.
        """
        del key
        return {}, {}

    def combine(
        self,
        params: Params,
        state: Any,
        losses: PerTask,
        labelled: PerTask,
        key: jax.Array,
    ) -> tuple[jax.Array, PerTask]:
        """One loss from many; differentiable in `params` and `losses`.

        Args:
          params: learned parameters of the method.
          state: state of the method.
          losses: {task: float32 scalar}; 0 for a task without a label in this batch.
          labelled: {task: bool scalar}, whether the batch has any label of the task.
          key: PRNG key, another one at each step.

        Returns:
          The total loss, a float32 scalar, and the weights {task: float32 scalar} for the logs.
        """
        raise NotImplementedError

    def combine_gradients(
        self, state: Any, gradients: dict[str, Any], labelled: PerTask, key: jax.Array
    ) -> tuple[Any, PerTask, Any]:
        """One gradient from many.

        Args:
          state: state of the method.
          gradients: {task: gradient of its loss with respect to the model's parameters}, over the
            whole batch of all devices (and all micro-batches); 0 for a task without a label.
          labelled, key: as of `combine`.

        Returns:
          The gradient, a pytree like the model's parameters; the weights {task: float32 scalar}
          for the logs; the new state.
        """
        raise NotImplementedError

    def end_epoch(self, state: Any, mean_losses: PerTask, labelled: PerTask) -> Any:
        """Called after the last step of an epoch.

        Args:
          state: state of the method.
          mean_losses: {task: mean of the unweighted loss over the epoch's labelled batches}; 0
            where there was none.
          labelled: {task: bool scalar}, whether there was any.

        Returns:
          The new state.
        """
        del mean_losses, labelled
        return state


def build(config, tasks: Mapping[str, Any]) -> Weighting:
    """Builds the weighting that `config["name"]` names.

    Args:
      config: `config.weighting`.
      tasks: {name: Task}.

    Raises:
      ConfigError: no weighting has that name, or an option is unknown or impossible.
    """
    options = _options.complete_part(config, PART, key="config.weighting")
    module = _discovery.load(
        sys.modules[__name__], options.pop("name"), key="config.weighting.name"
    )
    return module.build(ConfigDict(options), tasks)


def as_array(weights: dict[str, float]) -> dict[str, jax.Array]:
    """Python numbers as float32 scalars, so that the logs need no special case."""
    return {task: jnp.asarray(weight, jnp.float32) for task, weight in weights.items()}
