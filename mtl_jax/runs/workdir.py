"""The work directory of a run: which files there are, and whose it is.

Writes are atomic, but for the lines that are appended to training.jsonl.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mtl_jax import _files
from mtl_jax.errors import ConfigError, did_you_mean
from mtl_jax.runs import _locks, checks, files, rules
from mtl_jax.runs.files import WorkdirError, flatten, from_json, to_json, write_json

LOCK = ".lock"  # held by the process that trains
RELEASE = "mtl_jax.json"  # no run has it: it makes a folder that of a released network
_SEED = "seed_"
_EVALUATION = "evaluation_"
# Of slices of splits, train[:50%] ─► train_-50p: a shell takes brackets for a pattern.
_PLAIN = str.maketrans({"[": "_", ":": "-", "%": "p", "]": None})


def default(path: str | os.PathLike | None, config: ConfigDict) -> "Workdir":
    """The work directory at `path`; runs/<config.name> by default."""
    return Workdir(path or Path("runs") / config.name)


class Workdir:
    """Names and files of one work directory; nobody else knows what they are called.

    Attributes:
      config, label_specs: what is trained, on which labels (JSON).
      inputs: what it was given besides, see `claim_inputs` (JSON).
      training, evaluations: what was logged and found so far, one object in each line.
      results: what reports are made of (JSON).
      best_evaluation: the single images of the best evaluation (JSON).
      checkpoints, predictions, profiles: folders.
      parameters: a table of the network's parameters, as text.
      trackers: by which id each experiment tracker knows the run (JSON).
    """

    def __init__(self, path: str | os.PathLike):
        """Takes the directory's path; creates nothing."""
        self.path = Path(os.path.expanduser(path)).absolute()
        self.config = self.path / "config.json"
        self.label_specs = self.path / "labels.json"
        self.inputs = self.path / "inputs.json"
        self.learned_tasks = self.path / "learned_tasks.json"
        self.evaluations = self.path / "evaluation.jsonl"
        self.results = self.path / "results.json"
        self.training = self.path / "training.jsonl"
        self.best_evaluation = self.path / "best_evaluation.json"
        self.checkpoints = self.path / "checkpoints"
        self.predictions = self.path / "predictions"
        self.profiles = self.path / "profile"
        self.parameters = self.path / "parameters.txt"
        self.trackers = self.path / "trackers.json"

    def seed(self, seed: int) -> "Workdir":
        """The directory of one of several seeds' runs."""
        return Workdir(self.path / f"{_SEED}{seed}")

    def seeds(self) -> "dict[str, Workdir]":
        """{seed: its directory} of those that there are, in order."""
        found = sorted(self.path.glob(f"{_SEED}*"), key=lambda path: (len(path.name), path.name))
        return {path.name.removeprefix(_SEED): Workdir(path) for path in found}

    def evaluation(self, split: str, checkpoint: str) -> Path:
        """Where --mode=evaluate leaves what it has found."""
        return self.path / f"{_EVALUATION}{split.translate(_PLAIN)}_{checkpoint}.json"

    def saved_predictions(self, split: str, checkpoint: str) -> Path:
        """Where --mode=evaluate leaves what was predicted, if it is to be saved."""
        return self.predictions / f"{split.translate(_PLAIN)}_{checkpoint}"

    def create(self) -> None:
        """Creates the directory and checks that it can be written. Raises WorkdirError."""
        self.check_not_released()
        try:
            _files.make_folder(self.path)
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

    def claim(self, config: ConfigDict, *, may_differ: Iterable[str] = rules.RESUME) -> None:
        """Saves the config, or checks that the directory belongs to the same one.

        Only while `only_process` lasts, or a config that is refused later takes the place of that
        which another process trains with. A config of which nothing has been trained, as a later
        part refused it, gives way. The order of a run's tasks is kept, see `options.keep_order`.

        Raises:
          WorkdirError: it holds a run of another config; the message lists the differing keys.
        """
        if self.config.exists() and self.holds_a_run():
            from mtl_jax import options

            options.keep_order(config, self.read_config())
            self.check_config(config, may_differ=may_differ)
        else:
            write_json(self.config, to_json(config))

    def go_on_with(self, config: ConfigDict) -> None:
        """Saves a config that was claimed, with all that may differ, as the run goes on with it.

        What was evaluated in another way remains on record, marked as that.
        """
        before, now = self.read_config(), to_json(config)
        if before == now:
            return
        ways = [
            rules.evaluated_with(config) | {"split": config["eval"]["split"]}
            for config in (before, now)
        ]
        if ways[0] != ways[1]:
            found, _ = files.read_lines(self.evaluations)
            files.write_lines(
                self.evaluations, [{"evaluated_with": ways[0]} | entry for entry in found]
            )
        write_json(self.config, now)

    def claim_labels(self, specs: dict[str, dict]) -> None:
        """Saves the label specs, or checks that the labels still mean what they did.

        Args:
          specs: {key: `LabelSpec.as_dict()`} of the data.

        Raises:
          WorkdirError: it holds a run whose labels meant something else; the message says what.
        """
        if self.label_specs.exists() and self.holds_a_run():
            self.check_labels(specs)
        else:
            write_json(self.label_specs, specs)

    def check_labels(self, specs: dict[str, dict]) -> None:
        """Raises WorkdirError if the labels of the run meant something else than `specs`."""
        before, now = self.read_label_specs(), files.as_json(specs)
        saved, given = flatten(before), flatten(now)
        lines = [f"  {key}: in one of them only" for key in sorted(set(before) ^ set(now))]
        lines += [
            # What only one of them says is of another version; colours mean nothing to a run.
            f"  {key}: {saved[key]!r} in the directory, {given[key]!r} in the data"
            for key in sorted(set(saved) & set(given))
            if saved[key] != given[key] and not key.endswith(".palette")
        ]
        if lines:
            raise WorkdirError(
                f"{self.path} holds a run on data with other labels:\n" + "\n".join(lines) + "\n"
                "Use another --workdir, or the same data."
            )

    def claim_inputs(self, found: dict[str, Any]) -> None:
        """Saves what is read of files that the config names, or checks that it is the same still.

        Args:
          found: {the config's key: what its files say, as JSON}.

        Raises:
          WorkdirError: it holds a run that began with something else; the message says what.
        """
        saved = self._read_if_there(self.inputs, checks.anything) if self.holds_a_run() else {}
        now = files.as_json(found)
        differing = [key for key in now if saved.get(key, now[key]) != now[key]]
        if differing:
            raise WorkdirError(
                f"{self.path} holds a run that began with other contents of {differing[0]}: "
                "its files have changed since. Restore them, or use another --workdir."
            )
        if now or self.inputs.exists():
            write_json(self.inputs, now)

    def claim_learned_tasks(self, names: Iterable[str]) -> None:
        """Saves which tasks the run learns, which later starts cannot find out any more."""
        if not (self.learned_tasks.exists() and self.holds_a_run()):
            write_json(self.learned_tasks, sorted(names))

    def holds_a_run(self) -> bool:
        """Whether anything has been trained here, or of any of several seeds."""
        runs = (self, *self.seeds().values())
        return self.results.exists() or any(run.has_trained() for run in runs)

    def has_trained(self) -> bool:
        """Whether the directory's own run, not one of several seeds, has left anything of it."""
        return self.has_checkpoint() or self.training.exists() or self.evaluations.exists()

    def has_checkpoint(self, kind: str = "*") -> bool:
        """Whether a checkpoint is there, by the names of files alone.

        The folders of the kinds are made before weights are loaded, which may fail.

        Args:
          kind: 'best' or 'latest'; either by default.
        """
        return any(path.name.isdecimal() for path in self.checkpoints.glob(f"{kind}/*"))

    def check_not_released(self) -> None:
        """Raises WorkdirError if this is what `mtl release` wrote, which is no work directory."""
        if (self.path / RELEASE).is_file():
            raise WorkdirError(
                f"{self.path} is a released folder, a network without its run. mtl_jax.load("
                f"{str(self.path)!r}) predicts with it, and `mtl demo --workdir={self.path}` shows "
                "it; here the work directory of a run is expected."
            )

    def check_config(self, config: ConfigDict, *, may_differ: Iterable[str]) -> None:
        """Checks that the saved config differs from `config` nowhere else.

        A key that the saved one lacks, as it is older, has its default there.

        Args:
          config: the one that is asked for.
          may_differ: keys, or sections with a dot at their end, such as `rules.USE`.

        Raises:
          WorkdirError: it does; the message lists the keys.
        """
        from mtl_jax import options  # only here, see `complete_config`

        if "task_order" not in self.read_config():  # that of the alphabet: `options.keep_order`
            may_differ = (*may_differ, "task_order")
        saved = to_json(self.complete_config())
        given = to_json(options.with_short_statistics(config))
        lines = rules.differences(saved, given, may_differ=may_differ)
        if lines:
            raise WorkdirError(
                f"{self.path} holds a run of another config:\n" + "\n".join(lines) + "\n"
                "Use another --workdir, or the same config." + self._longer(lines, config)
            )

    def _longer(self, lines: list[str], config: ConfigDict) -> str:
        """How to train for longer than was meant, if that is what was asked for."""
        if not all(rules.is_key(line, rules.LENGTH) for line in lines):
            return ""
        return (
            f"\nThe rates of config.schedule.name={config.schedule.name!r} are those of a run of "
            "that length, so it cannot be made longer. To train on from where it ended, start a "
            f"new run: --config.model.pretrained={self.path} --config.model.pretrained_scope=all "
            "--workdir=<another>."
        )

    def read_config(self) -> dict[str, Any]:
        """The saved config. Raises WorkdirError if there is none or it cannot be read."""
        self.check_not_released()
        return self._read(self.config, checks.config)

    def complete_config(self) -> ConfigDict:
        """The saved config, with defaults for what is newer. Raises WorkdirError likewise."""
        from mtl_jax import options  # only here: the parts that it asks for options import JAX

        try:
            return options.of_saved(from_json(self.read_config()))
        except ConfigError as error:
            raise WorkdirError(f"{self.config} cannot be read: {error}") from error

    def read_label_specs(self) -> dict[str, dict]:
        """The saved label specs. Raises WorkdirError if there are none or they cannot be read."""
        return self._read(self.label_specs, checks.label_specs)

    def set_damaged_lines_aside(self, report: Callable[[str], None]) -> None:
        """Moves what cannot be read of training and evaluations to files beside, and says so."""
        for path in (self.training, self.evaluations):
            files.set_damaged_lines_aside(path, report)

    def read_learned_tasks(self) -> list[str] | None:
        """What `claim_learned_tasks` saved; None in a directory of before version 0.2."""
        if not self.learned_tasks.exists():
            return None
        return files.read_json(self.learned_tasks, checks.learned_tasks, kind=list)

    def read_evaluations(self) -> list[dict[str, Any]]:
        """All evaluations so far, oldest first, but for damaged lines."""
        return files.read_lines(self.evaluations)[0]

    def write_evaluations(self, evaluations: list[dict[str, Any]]) -> None:
        """Replaces the list of evaluations."""
        files.write_lines(self.evaluations, evaluations)

    def read_training(self) -> list[dict[str, Any]]:
        """What was logged of training, oldest first, but for damaged lines."""
        return files.read_lines(self.training)[0]

    def read_best_evaluation(self) -> dict[str, Any]:
        """What is known of the images of the best evaluation; {} if there is none yet."""
        return self._read_if_there(self.best_evaluation, checks.best_evaluation)

    def read_results(self) -> dict[str, Any]:
        """What results.json holds; {} if there are none yet."""
        return self._read_if_there(self.results, checks.results)

    def read_trackers(self) -> dict[str, str]:
        """{tracker: its id of this run}; {} if it was written to none so far."""
        return self._read_if_there(self.trackers, checks.trackers)

    def read_evaluation(self, split: str, checkpoint: str) -> dict[str, Any]:
        """What --mode=evaluate has left; {} if nothing."""
        file = self.evaluation(split, checkpoint)
        if not file.exists():  # versions before 0.2 left the brackets of a slice in its name
            file = self.path / f"{_EVALUATION}{split}_{checkpoint}.json"
        return self._read_if_there(file, checks.evaluation)

    def read_stored_evaluations(self) -> dict[str, dict[str, Any]]:
        """{'<split>_<checkpoint>', as files are named: what --mode=evaluate has left}."""
        there = sorted(self.path.glob(f"{_EVALUATION}*.json"), key=lambda f: "[" not in f.name)
        # Of a slice's two names the newer comes last, and is taken.
        found = {file.stem.removeprefix(_EVALUATION).translate(_PLAIN): file for file in there}
        return {name: files.read_json(found[name], checks.evaluation) for name in sorted(found)}

    def write_training(self, logged: list[dict[str, Any]]) -> None:
        """Replaces what was logged of training."""
        files.write_lines(self.training, logged)

    def append_training(self, entry: dict[str, Any]) -> None:
        """Appends to what was logged of training."""
        with self.training.open("a", encoding="utf-8") as file:
            file.write(files.line(entry))

    def _read_if_there(self, path: Path, check: checks.Check) -> dict[str, Any]:
        return self._read(path, check) if path.exists() else {}

    def _read(self, path: Path, check: checks.Check) -> dict[str, Any]:
        try:
            return files.read_json(path, check)
        except FileNotFoundError as error:
            raise WorkdirError(
                f"{path} does not exist: --workdir={self.path} holds no run. {self._neighbours()}"
            ) from error

    def _neighbours(self) -> str:
        """Which runs there are beside a directory that holds none."""
        found = sorted(path.parent.name for path in self.path.parent.glob("*/config.json"))
        if not found:
            return "Train one first, or give the directory of one."
        shown = ", ".join(found[:20]) + (" ..." if len(found) > 20 else "")
        hint = did_you_mean(self.path.name, found, cutoff=0.5)
        return f"{hint} {self.path.parent} has {shown}.".lstrip()
