"""What the steps of a run leave behind: logs, and the assurance that their numbers are finite."""

import time
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import numpy as np

from mtl_jax import training
from mtl_jax.errors import InEveryProcess
from mtl_jax.optimizers import Schedule
from mtl_jax.runs import progress
from mtl_jax.runs.plan import Plan
from mtl_jax.runs.results import Results
from mtl_jax.train_state import TrainState
from mtl_jax.weightings import RESIDUAL_LIMIT

# What the train step logs is called so in TensorBoard and training.jsonl; anything else keeps its
# name, and of a dict the names of its entries follow, with a stroke between.
_NAMES = {
    **{"losses": "loss", "total": "loss", "weights": "weight", "learned": ""},
    "diagnostics": "weighting",
}
# Means over the steps since the last line; of everything else the last step's value counts.
_MEANS = ("losses", "total")


class NonFiniteLoss(FloatingPointError, InEveryProcess):
    """A loss, gradient or state is NaN or infinite; the message says where and what to try."""


class Writer(Protocol):
    """What is needed of clu's `MetricWriter`."""

    def write_scalars(self, step: int, scalars: dict[str, float]) -> None: ...

    def write_images(self, step: int, images: dict[str, np.ndarray]) -> None: ...

    def flush(self) -> None: ...


class StepLog:
    """Collects the steps' logs on the device and reads them at intervals, so that no step waits."""

    def __init__(
        self,
        config: Any,
        plan: Plan,
        *,
        stream: Any,
        schedule: Schedule,
        writer: Writer,
        results: Results,
    ):
        """Starts the clock.

        Args:
          config: the whole config.
          plan: the steps of the run.
          stream: of the training batches; tells the ids of the examples in one.
          schedule: the learning rate.
          writer: gets the scalars.
          results: gets what reports need.
        """
        self._config, self._plan = config, plan
        self._stream, self._schedule = stream, schedule
        self._writer, self._results = writer, results
        self._pending: list[tuple[range, Any]] = []
        self._clock = time.monotonic()
        self._compiled: float | None = None  # when the first step, which compiles, was made
        self._unconverged = 0  # steps whose weights were no solution, as of the last warning
        self._line = progress.Line(plan.total_steps, plan.steps_per_epoch, config.train.batch_size)

    def add(self, steps: range, logs: Any) -> None:
        """Takes what a call logs of these steps; only the first one is waited for.

        Args:
          steps: that the call made.
          logs: of `training.make_train_call`, [at least so many] each; of a single step also as
            `training.make_train_step` gives them.
        """
        self._pending.append((steps, logs))
        if self._compiled is None:
            jax.block_until_ready(logs)
            self._compiled = time.monotonic()

    def restart_clock(self) -> None:
        """Leaves the time since the last `flush` out of the throughput."""
        self._clock = time.monotonic()

    def flush(self) -> None:
        """Checks that all is finite, writes scalars and the progress line.

        Raises:
          NonFiniteLoss: at the first step whose losses or gradient are not finite.
        """
        if not self._pending:
            return
        calls = jax.device_get([logs for _, logs in self._pending])
        logs = []
        for (steps, _), found in zip(self._pending, calls, strict=True):
            for k, step in enumerate(steps):
                logs.append(jax.tree.map(lambda value, k=k: np.ravel(value)[k], found))
                self._check_losses(step, logs[-1])
        now = time.monotonic()
        seconds, self._clock = now - self._clock, now
        step, last = self._pending[-1][0][-1], logs[-1]
        rate = self._rate(len(logs), len(self._pending[0][0]), seconds, now)
        scalars = flatten(last) | flatten(
            {
                key: jax.tree.map(lambda *steps: np.mean(steps), *(found[key] for found in logs))
                for key in _MEANS
            }
        )
        scalars["images_per_second"] = rate
        self._warn_of_weights(step, last["diagnostics"])
        self._writer.write_scalars(step, {f"train/{name}": v for name, v in scalars.items()})
        self._results.add_training(
            step,
            seconds=seconds,
            images=len(logs) * self._config.train.batch_size,
            weighting=jax.tree.map(float, {"weight": last["weights"]} | last["learned"]),
            scalars={"epoch": step / self._plan.steps_per_epoch} | scalars,
        )
        losses = {task: scalars[f"loss/{task}"] for task in last["losses"]}
        self._line.show(step, losses, scalars["learning_rate"], rate)
        self._pending.clear()

    def check_state(self, step: int, state: TrainState) -> None:
        """For a state that is to be saved: it has to be one to go on from.

        Raises:
          NonFiniteLoss: the last update left something not finite, which no loss has shown yet.
        """
        bad = training.not_finite(state)
        if bad:
            raise NonFiniteLoss(
                f"The update of step {step} left {len(bad)} arrays of the state not finite, as "
                f"{bad[0]}; learning rate {float(self._schedule(step - 1)):.3g}.\n"
                f"{self._what_to_try(step)}"
            )

    def _warn_of_weights(self, step: int, diagnostics: Any) -> None:
        """Says aloud that the weighting's solver has not converged in some of the new steps."""
        count = int(diagnostics.get("unconverged", 0))
        if count > self._unconverged:
            progress.say(
                f"config.weighting.name={self._config.weighting.name}: the weights were no "
                f"solution of the method's equations in {count} of {step} steps (residual above "
                f"{RESIDUAL_LIMIT:g}; now {float(diagnostics['residual']):.2g}). They were used as "
                "they were; docs/weightings.md says what each method needs."
            )
        self._unconverged = count

    def _rate(self, steps: int, first: int, seconds: float, now: float) -> float:
        """Images per second, without the call that had to be compiled if there are others."""
        since = now - self._compiled if self._compiled is not None else seconds
        if steps > first and since < seconds:
            steps, seconds = steps - first, since
        return steps * self._config.train.batch_size / seconds

    def _check_losses(self, step: int, found: Any) -> None:
        bad = [task for task, value in found["losses"].items() if not np.isfinite(value)]
        if not bad and np.isfinite(found["gradient_norm"]):
            return
        what = f"The loss of {', '.join(bad)}" if bad else "The gradient"
        values = {task: float(value) for task, value in found["losses"].items()}
        raise NonFiniteLoss(
            f"{what} is not finite at step {step}: losses {values}, "
            f"gradient norm {float(found['gradient_norm'])}, learning rate "
            f"{float(found['learning_rate']):.3g}.\n{self._what_to_try(step)}"
        )

    def _what_to_try(self, step: int) -> str:
        config = self._config
        return (
            f"Examples of that batch: {', '.join(self._stream.example_ids(step - 1))}.\n"
            "Look at these examples' labels first. Then try a lower "
            f"config.schedule.learning_rate (now {config.schedule.learning_rate}), a longer "
            "config.schedule.warmup_epochs, config.optimizer.clip_norm=1, or "
            "config.model.dtype=float32.\n"
            "The last good checkpoint is kept; the same command goes on from it."
        )


def flatten(logs: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """{'losses': {'depth': 1}, 'gradient_norm': 2} ─► {'loss/depth': 1.0, 'gradient_norm': 2.0}."""
    flat = {}
    for key, value in logs.items():
        name = key if prefix else _NAMES.get(key, key)
        name = "/".join(filter(None, (prefix, name)))
        flat |= flatten(value, name) if isinstance(value, Mapping) else {name: float(value)}
    return flat
