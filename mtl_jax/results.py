"""evaluation.jsonl and results.json of a run."""

import importlib.metadata
import platform
from typing import Any

import jax
import numpy as np

from mtl_jax import workdir
from mtl_jax.workdir import Workdir

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "mtl-jax")


class SelectionError(ValueError):
    """The metric that decides which checkpoint is best cannot be had."""


class Results:
    """What is known of a run so far. Only the first process writes."""

    def __init__(self, directory: Workdir, config: Any, info: dict[str, Any] | None = None):
        """Starts anew, or goes on from the `info` of a checkpoint.

        Evaluations later than that checkpoint will be made again, so they are dropped.
        """
        self._directory, self._config = directory, config
        info = info or {"step": 0, "train_seconds": 0.0, "images": 0, "weighting": {}}
        self._step = info["step"]
        self._seconds, self._images = info["train_seconds"], info["images"]
        self._weighting = info["weighting"]
        self._evaluations = [e for e in directory.read_evaluations() if e["step"] <= self._step]

    def info(self) -> dict[str, Any]:
        """What a checkpoint has to remember."""
        return {
            "step": self._step,
            "train_seconds": self._seconds,
            "images": self._images,
            "weighting": self._weighting,
        }

    def add_training(
        self, step: int, *, seconds: float, images: int, weighting: dict[str, dict[str, float]]
    ) -> None:
        """Counts the time and images that training took to come to `step`.

        `weighting` is what that step weighed with: {'weight' or a learned quantity: {task: value}}.
        """
        self._step = step
        self._seconds += seconds
        self._images += images
        self._weighting = weighting

    def has_evaluation(self, step: int) -> bool:
        """Whether the model of that step has been evaluated."""
        return any(entry["step"] == step for entry in self._evaluations)

    def is_best(self, step: int, metrics: dict[str, float]) -> bool:
        """Whether these metrics are better than those of all evaluations so far.

        Raises:
          SelectionError: config.eval.selection is not among the metrics, or is not a number.
        """
        score = self._score({"step": step, "metrics": metrics})
        best = self._best()
        return best is None or self._sign() * score > self._sign() * self._score(best)

    def add_evaluation(self, step: int, epoch: float, metrics: dict[str, float]) -> None:
        """Appends a line to evaluation.jsonl."""
        self._evaluations.append(
            {"step": step, "epoch": epoch, "train_seconds": self._seconds, "metrics": metrics}
        )
        if jax.process_index() == 0:
            self._directory.write_evaluations(self._evaluations)

    def write(self, *, final: bool) -> dict[str, Any]:
        """Writes results.json and returns what it holds.

        `mean_of_last_10` is over the last ten evaluations, or all if they are fewer; `evaluations`
        says how many there were.
        """
        evaluations = self._evaluations
        last_ten = evaluations[-10:]
        keys = evaluations[-1]["metrics"] if evaluations else {}
        results = {
            "name": self._config.name,
            "finished": final,
            "selection": self._config.eval.selection,
            "split": self._config.eval.split,
            "best": self._best(),
            "last": evaluations[-1] if evaluations else None,
            "mean_of_last_10": {
                key: float(np.mean([_number(e["metrics"].get(key)) for e in last_ten]))
                for key in keys
            },
            "weighting": self._weighting,
            "evaluations": len(evaluations),
            "steps": self._step,
            "train_seconds": self._seconds,
            "images_per_second": self._images / self._seconds if self._seconds else None,
            "devices": f"{jax.device_count()} × {jax.devices()[0].device_kind}",
            "processes": jax.process_count(),
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
            "versions": {package: _version(package) for package in _PACKAGES},
        }
        if jax.process_index() == 0:
            workdir.write_json(self._directory.results, results)
        return results

    def _score(self, entry: dict[str, Any]) -> float:
        selection, split = self._config.eval.selection, self._config.eval.split
        numbers = {key: _number(value) for key, value in entry["metrics"].items()}
        known = ", ".join(sorted(key for key, value in numbers.items() if np.isfinite(value)))
        if selection not in numbers:
            raise SelectionError(
                f"config.eval.selection={selection!r} is not a metric of this run on {split!r}. "
                f"Expected one of: {known}."
            )
        if not np.isfinite(numbers[selection]):
            raise SelectionError(
                f"config.eval.selection={selection!r} is {numbers[selection]} at step "
                f"{entry['step']} on {split!r}. Select by one of: {known}."
            )
        return numbers[selection]

    def _sign(self) -> int:
        return {"max": 1, "min": -1}[self._config.eval.selection_mode]

    def _best(self) -> dict[str, Any] | None:
        # Of equals the first, as `add_evaluation` decides too.
        return max(
            self._evaluations, key=lambda entry: self._sign() * self._score(entry), default=None
        )


def _number(value: float | None) -> float:
    """JSON has no NaN: it is written as null and read as None."""
    return float("nan") if value is None else value


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
