"""training.jsonl, evaluation.jsonl and results.json of a run."""

import datetime
import importlib.metadata
import platform
import shlex
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from mtl_jax.runs import files, rules
from mtl_jax.runs.selection import Selection
from mtl_jax.runs.workdir import Workdir

# Also those of the input pipeline, none of which has to be installed to train.
_PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "clu", "numpy", "mtl-jax"),
    *("tensorflow", "tensorflow-cpu", "tensorflow-datasets", "pillow"),
    *("opencv-python-headless", "tensorboardX"),
)


class Results:
    """What is known of a run so far. Only the first process writes.

    `best` is always the evaluation of the model that is stored as the best: it is compared with
    each later one by `selection`, whatever selected it. An evaluation that was made in another way
    (another split, size or test-time augmentation) stays on record, but is compared with none.
    """

    def __init__(
        self,
        directory: Workdir,
        config: Any,
        selection: Selection,
        info: dict[str, Any] | None = None,
        *,
        best: tuple[int, dict[str, Any]] | None = None,
        parameters: int | None = None,
        report: Callable[[str], None] = print,
    ):
        """Starts anew, or goes on from the `info` of a checkpoint.

        What was logged and evaluated later than that checkpoint will be made again, so it is
        dropped; so are lines that cannot be read, which are kept beside and named.

        Args:
          directory: of the run.
          config: of the run.
          selection: decides which evaluation is the best.
          info: of `info()`, when the checkpoint was saved.
          best: (step, info) of the model that is stored as the best; None if none is.
          parameters: how many the model has.
          report: told what is damaged.
        """
        self._directory, self._config, self._selection = directory, config, selection
        info = info or {"step": 0, "train_seconds": 0.0, "images": 0, "weighting": {}}
        self._wall_before, self._started = info.get("wall_seconds", 0.0), time.monotonic()
        self._step = info["step"]
        self._seconds, self._images = info["train_seconds"], info["images"]
        self._weighting = info["weighting"]
        self._parameters = parameters
        self._peak_memory = info.get("peak_memory", {})
        plain = files.to_json(config)
        self._way = rules.evaluated_with(plain) | {"split": plain["eval"]["split"]}
        recorded = [selection.completed(entry) for entry in directory.read_evaluations()]
        self._evaluations = [entry for entry in recorded if entry["step"] <= self._step]
        self._best = self._stored(*best, recorded, report) if best else None
        if jax.process_index() == 0:
            directory.set_damaged_lines_aside(report)
            if directory.training.exists():
                # Anew in any case: what is appended must not go on in a torn last line.
                logged = directory.read_training()
                directory.write_training([entry for entry in logged if entry["step"] <= self._step])

    def _stored(self, step: int, info, recorded, report) -> dict[str, Any] | None:
        """The evaluation of the stored best model, from wherever it is on record."""
        found = [entry for entry in recorded if entry["step"] == step]
        if found:
            return found[-1]
        entry = info.get("evaluation")
        if entry is None:  # an older version's, whose line was damaged
            entry = self._directory.read_results().get("best") or {}
        if entry.get("step") == step:
            entry = self._selection.completed(entry)
        else:
            report(
                f"How good the stored best model, of step {step}, was is no longer on record; "
                "the next evaluation takes its place."
            )
            return None
        if step <= self._step:
            self._evaluations = sorted([*self._evaluations, entry], key=lambda e: e["step"])
        return entry

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
          weighting: what weighted its losses: {'weight' or a learned quantity: {task: value}}.
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

    def entry(self, step: int, epoch: float, metrics: dict[str, float]) -> dict[str, Any]:
        """An evaluation, as evaluation.jsonl keeps it."""
        return {
            "step": step,
            "epoch": epoch,
            "train_seconds": self._seconds,
            "evaluated_with": self._way,
            "metrics": files.as_json(metrics),
        }

    def is_best(self, entry: dict[str, Any]) -> bool:
        """Whether an evaluation is as good as the best so far, or better."""
        if self._best is None or self._way_of(self._best) != self._way:
            return True
        # Equal ranks are of one step, whose evaluation a kill has kept from the record.
        return self._selection.rank(entry) >= self._selection.rank(self._best)

    def add_evaluation(self, entry: dict[str, Any], *, best: bool) -> None:
        """Appends a line to evaluation.jsonl; `best` if its model is stored as the best."""
        self._evaluations.append(entry)
        if best:
            self._best = entry
        if jax.process_index() == 0:
            self._directory.write_evaluations(self._evaluations)

    def _way_of(self, entry: dict[str, Any]) -> dict[str, Any]:
        return entry.get("evaluated_with", self._way)

    def write(self, *, final: bool) -> dict[str, Any]:
        """Writes results.json and returns what it holds.

        `best` and `last` are the evaluations of the models that are stored so.
        `mean_of_last_10` is over the last ten evaluations that were made as the last one was, or
        all if they are fewer; `evaluations`
        says how many there were. `train_seconds` are those of the steps alone; `wall_seconds` count
        compilation, evaluations and saving too, in all starts of the run, but neither the start of
        the program nor what a kill has undone. `peak_memory`, in bytes, is of the first process:
        `host` what it held in main memory at most, `device` what its fullest accelerator held, None
        on a CPU. Of `versions` there are those that are installed. `date` is when this was written,
        in UTC, and `command` what the program was started with.
        """
        evaluations = self._evaluations
        last_ten = [e for e in evaluations if self._way_of(e) == self._way_of(evaluations[-1])][
            -10:
        ]
        keys = evaluations[-1]["metrics"] if evaluations else {}
        results = {
            "name": self._config.name,
            "finished": final,
            "selection": self._config.eval.selection,
            "split": self._config.eval.split,
            "best": self._best,
            "last": evaluations[-1] if evaluations else None,
            "mean_of_last_10": {
                key: float(np.mean([files.or_nan(e["metrics"].get(key)) for e in last_ten]))
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
            "versions": versions(),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "command": shlex.join(sys.argv),
        }
        if jax.process_index() == 0:
            files.write_json(self._directory.results, results)
        return results

    def _measure_memory(self) -> dict[str, int | None]:
        """The most memory so far, in this process and in those that it goes on from."""
        now = {"host": _host_bytes(), "device": _device_bytes()}
        self._peak_memory = {
            kind: max((n for n in (self._peak_memory.get(kind), found) if n), default=None)
            for kind, found in now.items()
        }
        return self._peak_memory


def versions() -> dict[str, str]:
    """{package: version} of those that are installed."""
    return {name: found for name in _PACKAGES if (found := _version(name))}


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
