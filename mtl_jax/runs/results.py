"""training.jsonl, evaluation.jsonl and results.json of a run."""

import importlib.metadata
import platform
import sys
import time
from typing import Any

import jax
import numpy as np

from mtl_jax.errors import UsageError
from mtl_jax.runs import workdir
from mtl_jax.runs.workdir import Workdir

# Also those of the input pipeline, none of which has to be installed to train.
_PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "clu", "numpy", "mtl-jax"),
    *("tensorflow", "tensorflow-cpu", "tensorflow-datasets", "pillow"),
)

DIRECTIONS = {"max": 1, "min": -1}  # of config.eval.selection_mode


class SelectionError(UsageError):
    """The metric that decides which checkpoint is best cannot be had."""


class Results:
    """What is known of a run so far. Only the first process writes."""

    def __init__(
        self,
        directory: Workdir,
        config: Any,
        info: dict[str, Any] | None = None,
        *,
        parameters: int | None = None,
    ):
        """Starts anew, or goes on from the `info` of a checkpoint.

        What was logged and evaluated later than that checkpoint will be made again, so it is
        dropped.

        Args:
          directory: of the run.
          config: of the run.
          info: of `info()`, when the checkpoint was saved.
          parameters: how many the model has.
        """
        self._directory, self._config = directory, config
        info = info or {"step": 0, "train_seconds": 0.0, "images": 0, "weighting": {}}
        self._wall_before, self._started = info.get("wall_seconds", 0.0), time.monotonic()
        self._step = info["step"]
        self._seconds, self._images = info["train_seconds"], info["images"]
        self._weighting = info["weighting"]
        self._parameters = parameters
        self._peak_memory = info.get("peak_memory", {})
        self._evaluations = [e for e in directory.read_evaluations() if e["step"] <= self._step]
        if directory.training.exists() and jax.process_index() == 0:
            # Anew in any case: what is appended must not go on in a torn last line.
            logged = directory.read_training()
            directory.write_training([entry for entry in logged if entry["step"] <= self._step])

    def info(self) -> dict[str, Any]:
        """What a checkpoint has to remember."""
        return {
            "step": self._step,
            "train_seconds": self._seconds,
            "wall_seconds": self._wall_seconds(),
            "images": self._images,
            "weighting": self._weighting,
            "peak_memory": self._measure_memory(),
        }

    def _wall_seconds(self) -> float:
        return self._wall_before + time.monotonic() - self._started

    def add_training(
        self,
        step: int,
        *,
        seconds: float,
        images: int,
        weighting: dict[str, dict[str, float]],
        scalars: dict[str, float],
    ) -> None:
        """Counts the time and images that training took to come to `step`, and logs that step.

        Args:
          step: the last one made.
          seconds: since the step that was logged before.
          images: likewise.
          weighting: what that step weighed with: {'weight' or a learned quantity: {task: value}}.
          scalars: what training.jsonl keeps of these steps.
        """
        self._step = step
        self._seconds += seconds
        self._images += images
        self._weighting = weighting
        if jax.process_index() == 0:
            entry = {"step": step, "train_seconds": self._seconds}
            self._directory.append_training(entry | scalars)

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
        says how many there were. `train_seconds` are those of the steps alone; `wall_seconds` count
        compilation, evaluations and saving too, in all starts of the run, but neither the start of
        the program nor what a kill has undone. `peak_memory`, in bytes, is of the first process:
        `host` what it held in main memory at most, `device` what its fullest accelerator held, None
        on a CPU. Of `versions` there are those that are installed.
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
            "wall_seconds": self._wall_seconds(),
            "images_per_second": self._images / self._seconds if self._seconds else None,
            "parameters": self._parameters,
            "peak_memory": self._measure_memory(),
            "devices": f"{jax.device_count()} × {jax.devices()[0].device_kind}",
            "processes": jax.process_count(),
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
            "versions": {name: found for name in _PACKAGES if (found := _version(name))},
        }
        if jax.process_index() == 0:
            workdir.write_json(self._directory.results, results)
        return results

    def _measure_memory(self) -> dict[str, int | None]:
        """The most memory so far, in this process and in those that it goes on from."""
        now = {"host": _host_bytes(), "device": _device_bytes()}
        self._peak_memory = {
            kind: max((n for n in (self._peak_memory.get(kind), found) if n), default=None)
            for kind, found in now.items()
        }
        return self._peak_memory

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
        return DIRECTIONS[self._config.eval.selection_mode]

    def _best(self) -> dict[str, Any] | None:
        # Of equals the first, as `add_evaluation` decides too.
        return max(
            self._evaluations, key=lambda entry: self._sign() * self._score(entry), default=None
        )


def _number(value: float | None) -> float:
    """JSON has no NaN: it is written as null and read as None."""
    return float("nan") if value is None else value


def _host_bytes() -> int | None:
    """The most main memory that this process ever held."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _device_bytes() -> int | None:
    """The most memory that any accelerator of this process ever held; a CPU does not tell."""
    found = [device.memory_stats() or {} for device in jax.local_devices()]
    return max((stats.get("peak_bytes_in_use", 0) for stats in found), default=0) or None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
