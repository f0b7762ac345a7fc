"""When a run does what: its length, its evaluations, its checkpoints."""

import dataclasses
import math
from collections.abc import Collection
from typing import Any

from mtl_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Plan:
    """The steps of a run, counted from 1 as the number of updates made.

    Attributes:
      steps_per_epoch: full batches in an epoch.
      total_steps: of the whole run.
      evaluate_every, save_every, log_every: steps; 0 = never, but for the end of the run.
    """

    steps_per_epoch: int
    total_steps: int
    evaluate_every: int
    save_every: int
    log_every: int

    def evaluates(self, step: int) -> bool:
        """Whether the model of `step` is evaluated."""
        return step > 0 and (_due(step, self.evaluate_every) or step == self.total_steps)

    def saves(self, step: int) -> bool:
        """Whether the state of `step` is saved."""
        return self.evaluates(step) or _due(step, self.save_every)

    def logs(self, step: int) -> bool:
        """Whether what the steps up to `step` have left is read."""
        return self.saves(step) or _due(step, self.log_every)

    def until_next(self, step: int, also: Collection[int] = (), *, epochs: bool = False) -> int:
        """How many steps after `step` something is done next: logs, saves, evaluates, ends.

        Args:
          step: the number of steps made.
          also: steps at which something else is done.
          epochs: whether something is done at the end of each.
        """
        every = [self.evaluate_every, self.save_every, self.log_every]
        every = [n for n in [*every, self.steps_per_epoch * epochs] if n > 0]
        due = [n - step % n for n in every]
        return min(*due, *(k - step for k in (self.total_steps, *also) if k > step))


def build(train: Any, steps_per_epoch: int) -> Plan:
    """The plan of `config.train`.

    Raises:
      ConfigError: it gives no step, or a length that is no number.
    """
    if train.log_every < 1:
        raise ConfigError(f"config.train.log_every={train.log_every}; expected 1 or more steps.")
    if train.max_steps < 0:
        raise ConfigError(
            f"config.train.max_steps={train.max_steps}; expected a number of steps, or 0 for "
            "config.train.epochs to decide."
        )
    for key in ("eval_every_epochs", "checkpoint_every_steps"):
        if not 0 <= train[key] < math.inf:
            raise ConfigError(f"config.train.{key}={train[key]}; expected a number, 0 or more.")
    evaluate_every = int(_steps_in(train.eval_every_epochs, steps_per_epoch))
    if train.eval_every_epochs and not evaluate_every:
        raise ConfigError(
            f"config.train.eval_every_epochs={train.eval_every_epochs} of {steps_per_epoch} steps; "
            "expected a number that gives one step or more."
        )
    steps = train.max_steps or _steps_in(train.epochs, steps_per_epoch)
    if not 1 <= steps < math.inf:
        raise ConfigError(
            f"config.train.epochs={train.epochs} of {steps_per_epoch} steps; expected a "
            "number that gives one step or more."
        )
    return Plan(
        steps_per_epoch=steps_per_epoch,
        total_steps=int(steps),
        evaluate_every=evaluate_every,
        save_every=train.checkpoint_every_steps,
        log_every=train.log_every,
    )


def _steps_in(epochs: float, steps_per_epoch: int) -> float:
    """Whole steps: 0.29 of 100 are 29, though its product is a little less."""
    steps = epochs * steps_per_epoch + 1e-6
    return math.floor(steps) if math.isfinite(steps) else steps


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
