"""The work directory of a run: config, label specs, evaluations, results.

Writes are atomic, but for the lines that are appended to training.jsonl.
"""

import contextlib
import difflib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mtl_jax.errors import UsageError
from mtl_jax.runs import _locks

LOCK = ".lock"  # held by the process that trains

# What may differ between two starts of one run, because it changes no number of the training.
MAY_DIFFER = (
    "data.data_dir",
    "data.manual_dir",
    "train.log_every",
    "train.profile",
    "eval.images",
    "eval.worst_images",
    "eval.checkpoint",
    "eval.save_predictions",
    "eval.delta_metrics",
    "predict.",
)
_EVALUATE_ONLY = ("eval.",)
_TRAIN_ONLY = ("optimizer.", "train.")


class WorkdirError(UsageError):
    """The work directory cannot be used; the message says why and what to do."""


def default(path: str | os.PathLike | None, config: ConfigDict) -> "Workdir":
    """The work directory at `path`; runs/<config.name> by default."""
    return Workdir(path or Path("runs") / config.name)


class Workdir:
    """Names and files of one work directory."""

    def __init__(self, path: str | os.PathLike):
        """Takes the directory's path; creates nothing."""
        self.path = Path(os.path.expanduser(path)).absolute()
        self.config = self.path / "config.json"
        self.label_specs = self.path / "labels.json"
        self.learned_tasks = self.path / "learned_tasks.json"
        self.evaluations = self.path / "evaluation.jsonl"
        self.results = self.path / "results.json"
        self.training = self.path / "training.jsonl"
        self.best_evaluation = self.path / "best_evaluation.json"
        self.checkpoints = self.path / "checkpoints"
        self.predictions = self.path / "predictions"

    def create(self) -> None:
        """Creates the directory and checks that it can be written. Raises WorkdirError."""
        probe = self.path / f".writable_{os.getpid()}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise WorkdirError(
                f"--workdir={self.path} cannot be written ({error.strerror}). "
                "Choose a directory that you may write to."
            ) from error

    @contextlib.contextmanager
    def only_process(self) -> Iterator[None]:
        """While this lasts no other process trains here; a kill ends it too.

        Raises:
          WorkdirError: another one does.
        """
        with _locks.held(self.path / LOCK) as lock:
            if lock is None:
                raise WorkdirError(
                    f"Another process is training in --workdir={self.path}. "
                    "Wait for its end, or use another directory."
                )
            yield

    def claim(self, config: ConfigDict) -> None:
        """Saves the config, or checks that the directory belongs to the same one.

        A config of which nothing has been trained, as a later part refused it, gives way. The order
        of a run's tasks is kept, see `options.keep_order`.

        Raises:
          WorkdirError: it holds a run of another config; the message lists the differing keys.
        """
        if self.config.exists() and self._holds_a_run():
            from mtl_jax import options

            options.keep_order(config, self.read_config())
            self.check_config(config, may_differ=MAY_DIFFER)
        else:
            write_json(self.config, to_json(config))

    def claim_labels(self, specs: dict[str, dict]) -> None:
        """Saves the label specs, or checks that the labels still mean what they did.

        Args:
          specs: {key: `LabelSpec.as_dict()`} of the data.

        Raises:
          WorkdirError: it holds a run whose labels meant something else; the message says what.
        """
        if not (self.label_specs.exists() and self._holds_a_run()):
            write_json(self.label_specs, specs)
            return
        before, now = self.read_label_specs(), json.loads(json.dumps(_finite(specs)))
        saved, given = flatten(before), flatten(now)
        lines = [f"  {key}: in one of them only" for key in sorted(set(before) ^ set(now))]
        lines += [  # what only one of them says is of another version of this project
            f"  {key}: {_show(saved, key)} in the directory, {_show(given, key)} in the data"
            for key in sorted(set(saved) & set(given))
            if saved[key] != given[key]
        ]
        if lines:
            raise WorkdirError(
                f"{self.path} holds a run on data with other labels:\n" + "\n".join(lines) + "\n"
                "Use another --workdir, or the same data."
            )

    def claim_learned_tasks(self, names: Iterable[str]) -> None:
        """Saves which tasks the run learns, which later starts cannot find out any more."""
        if not (self.learned_tasks.exists() and self._holds_a_run()):
            write_json(self.learned_tasks, sorted(names))

    def _holds_a_run(self) -> bool:
        files = (self.checkpoints, self.training, self.evaluations, self.results)
        return any(file.exists() for file in files) or any(self.path.glob("seed_*"))

    def check_config(self, config: ConfigDict, *, may_differ: Iterable[str]) -> None:
        """Raises WorkdirError if the saved config differs from `config` anywhere else."""
        from mtl_jax import options  # only here: the parts that it asks for options import JAX

        saved, given = self.read_config(), flatten(to_json(config))
        if "task_order" not in saved:  # then it is that of the alphabet: `options.keep_order`
            may_differ = (*may_differ, "task_order")
        if "model" in saved:
            saved = to_json(options.of_saved(from_json(saved)))
        saved = flatten(saved)
        lines = [
            f"  {key}: {_show(saved, key)} in the directory, {_show(given, key)} asked for"
            for key in sorted(set(saved) | set(given))
            if saved.get(key) != given.get(key) and not key.startswith(tuple(may_differ))
        ]
        if lines:
            raise WorkdirError(
                f"{self.path} holds a run of another config:\n" + "\n".join(lines) + "\n"
                "Use another --workdir, or the same config."
            )

    def read_config(self) -> dict[str, Any]:
        """The saved config. Raises WorkdirError if there is none or it cannot be read."""
        return self._read(self.config)

    def read_results(self) -> dict[str, Any]:
        """What results.json holds. Raises WorkdirError if there is none or it cannot be read."""
        return self._read(self.results)

    def read_label_specs(self) -> dict[str, dict]:
        """The saved label specs. Raises WorkdirError if there are none."""
        return self._read(self.label_specs)

    def read_learned_tasks(self) -> list[str] | None:
        """What `claim_learned_tasks` saved; None in a directory of before version 0.3."""
        return self._read(self.learned_tasks) if self.learned_tasks.exists() else None

    def read_evaluations(self) -> list[dict[str, Any]]:
        """All evaluations so far, oldest first; a torn last line is left out."""
        return _read_lines(self.evaluations)

    def write_evaluations(self, evaluations: list[dict[str, Any]]) -> None:
        """Replaces the list of evaluations."""
        write_text(self.evaluations, "".join(json.dumps(_finite(e)) + "\n" for e in evaluations))

    def read_training(self) -> list[dict[str, Any]]:
        """What was logged of training, oldest first; a torn last line is left out."""
        return _read_lines(self.training)

    def read_best_evaluation(self) -> dict[str, Any]:
        """What is known of the images of the best evaluation; {} if there is none yet."""
        return self._read(self.best_evaluation) if self.best_evaluation.exists() else {}

    def write_training(self, logged: list[dict[str, Any]]) -> None:
        """Replaces what was logged of training."""
        write_text(self.training, "".join(json.dumps(_finite(entry)) + "\n" for entry in logged))

    def append_training(self, entry: dict[str, Any]) -> None:
        """Appends to what was logged of training."""
        with self.training.open("a") as file:
            file.write(json.dumps(_finite(entry)) + "\n")

    def _neighbours(self) -> str:
        """Which runs there are beside a directory that holds none."""
        found = sorted(path.parent.name for path in self.path.parent.glob("*/config.json"))
        if not found:
            return "Train one first, or give the directory of one."
        shown = ", ".join(found[:20]) + (" ..." if len(found) > 20 else "")
        near = difflib.get_close_matches(self.path.name, found, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        return f"{hint}{self.path.parent} has {shown}."

    def _read(self, path: Path) -> Any:
        try:
            return json.loads(path.read_text())
        except FileNotFoundError as error:
            raise WorkdirError(
                f"{path} does not exist: --workdir={self.path} holds no run. {self._neighbours()}"
            ) from error
        except json.JSONDecodeError as error:
            raise WorkdirError(f"{path} is not valid JSON: {error}.") from error


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return found


def evaluate_may_differ() -> tuple[str, ...]:
    """What may differ between a run and its later evaluation or prediction."""
    return MAY_DIFFER + _EVALUATE_ONLY


def use_may_differ() -> tuple[str, ...]:
    """What may differ where a trained model is only used: how it was trained is on record."""
    return evaluate_may_differ() + _TRAIN_ONLY


def to_json(config: ConfigDict) -> dict[str, Any]:
    """The config as plain JSON values; tuples become lists."""
    return json.loads(json.dumps(config.to_dict()))


def from_json(value: Any) -> Any:
    """Undoes `to_json`, but for the ConfigDict around it: lists become tuples."""
    if isinstance(value, dict):
        return {key: from_json(item) for key, item in value.items()}
    return tuple(from_json(item) for item in value) if isinstance(value, list) else value


def flatten(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'a': {'b': 1}} ─► {'a.b': 1}."""
    flat = {}
    for key, item in value.items():
        flat |= flatten(item, f"{prefix}{key}.") if isinstance(item, dict) else {prefix + key: item}
    return flat


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON under a temporary name, then renames it. NaN and ∞ become null."""
    write_text(path, json.dumps(_finite(value), indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes under a temporary name, then renames: the file is whole or the old one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not (-float("inf") < value < float("inf")):
        return None
    return value


def _show(flat: dict[str, Any], key: str) -> str:
    return repr(flat[key]) if key in flat else "absent"
