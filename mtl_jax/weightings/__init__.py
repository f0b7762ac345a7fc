"""Weightings: how the losses of several tasks become one direction of descent, one module each."""

import dataclasses
import sys
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from mtl_jax import _discovery

Losses = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Weighting:
    """What every weighting does. All methods are pure and may be traced by `jax.jit`.

    A method that only weighs losses implements `combine`. A method that needs every task's own
    gradient sets `needs_gradients` and implements `combine_gradients` too. `params` is what the
    optimizer trains (learned variances, say); `state` is everything else that the method remembers
    and is saved in checkpoints.

    Attributes:
      tasks: the tasks' names.
    """

    tasks: tuple[str, ...]
    needs_gradients: ClassVar[bool] = False

    def init(self) -> tuple[Any, Any]:
        """Returns (params, state), two pytrees; empty by default."""
        return {}, {}

    def combine(
        self, params: Any, state: Any, losses: Losses, labelled: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """One loss from many; differentiable in `params` and `losses`.

        Args:
          params: learned parameters of the method.
          state: state of the method.
          losses: {task: float32 scalar}; 0 for a task without a label in this batch.
          labelled: {task: bool scalar}, whether the batch has any label of the task.

        Returns:
          The total loss, a float32 scalar, and the weights {task: scalar} for the logs.
        """
        raise NotImplementedError

    def combine_gradients(self, state: Any, gradients: dict[str, Any]) -> tuple[Any, Any]:
        """One gradient from {task: gradient}, each already averaged over the global batch.

        Returns:
          The gradient, a pytree like the model's parameters, and the new state.
        """
        raise NotImplementedError

    def end_epoch(self, state: Any, mean_losses: Losses) -> Any:
        """Called after the last step of an epoch.

        Args:
          state: state of the method.
          mean_losses: {task: mean over the epoch's labelled batches of the unweighted loss}.

        Returns:
          The new state.
        """
        del mean_losses
        return state


def build(config, tasks) -> Weighting:
    """Builds the weighting that `config.name` names.

    Args:
      config: `config.weighting`.
      tasks: the tasks' names.

    Raises:
      ValueError: no weighting has that name, or an option is impossible.
    """
    module = _discovery.load(sys.modules[__name__], config.name, key="config.weighting.name")
    return module.build(config, tuple(tasks))


def as_array(weights: dict[str, float]) -> dict[str, jax.Array]:
    """Python numbers as float32 scalars, so that the logs need no special case."""
    return {task: jnp.asarray(weight, jnp.float32) for task, weight in weights.items()}
