"""Writes the folder that stands for a trained network."""

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import mtl_jax
from mtl_jax import checkpoints, export, system
from mtl_jax.errors import UsageError
from mtl_jax.hub import card
from mtl_jax.runs import baselines, files, learned
from mtl_jax.runs.workdir import Workdir
from mtl_jax.weights import published, safetensors_files

FORMAT = 1
MANIFEST = "mtl_jax.json"
CONFIG, LABELS, METRICS = "config.json", "labels.json", "metrics.json"
WEIGHTS, CARD = "model.safetensors", "README.md"
# All that is ever read of a folder; the card is for people.
READ = (MANIFEST, CONFIG, LABELS, METRICS, WEIGHTS)
# What metrics.json says about how the numbers came about. No paths, and no names of machines.
_ON_RECORD = ("steps", "train_seconds", "images_per_second", "parameters", "devices", "date")
# Options that are folders, and those that are files or runs, of which the own name is kept.
_FOLDERS = ("data_dir", "manual_dir")
_NAMED = ("pretrained", "pretrained_heads", "single_task", "baselines", "file", "ids")


class ReleaseError(UsageError):
    """A folder holds no trained network that can be used; the message says where and why."""


def is_release(folder: Path) -> bool:
    """Whether a folder says of itself that it holds a trained network."""
    return (folder / MANIFEST).is_file()


def write(
    folder: Path, directory: Workdir, *, checkpoint: str = "", licence: str = "", name: str = ""
) -> None:
    """Writes what a run has learned into an empty folder.

    There are `config.json` and `labels.json`, without the paths of this machine; `metrics.json`;
    `model.safetensors`, tensors called 'params/encoder/...' and 'batch_stats/...'; `README.md`, the
    model card; and `mtl_jax.json` with the SHA-256 of each but the card.

    Args:
      folder: exists and is empty.
      directory: of the run.
      checkpoint: 'best' or 'latest'; what the run's `config.eval.checkpoint` says by default.
      licence: of the weights, such as 'apache-2.0'; by default what `card.licence` says.
      name: 'owner/name', for the card's example.

    Raises:
      UsageError: there is no run, or no such checkpoint.
    """
    config = directory.complete_config()
    kind = checkpoint or config.eval.checkpoint
    specs = directory.read_label_specs()
    parts = system.build(config, specs)
    names = sorted(learned.read(directory, parts.tasks, config.model))
    if not names:
        raise ReleaseError(f"{directory.path} has learned no task, as its data have no labels.")
    variables, step = checkpoints.read_variables(directory.checkpoints, kind, parts.zeros())
    plain = without_paths(files.to_json(config))
    metrics = _metrics(directory, plain, kind, step)
    about = {"format": "mtl_jax", "step": str(step)}
    safetensors_files.write(folder / WEIGHTS, export.flatten(variables), about)
    files.write_json(folder / CONFIG, plain)
    files.write_json(folder / LABELS, specs)
    files.write_json(folder / METRICS, metrics)
    hashes = {file: sha256(folder / file) for file in READ if file != MANIFEST}
    manifest = {
        "format": FORMAT,
        "mtl_jax": mtl_jax.__version__,
        "checkpoint": kind,
        "step": step,
        "learned_tasks": names,
        "sha256": hashes,
    }
    files.write_json(folder / MANIFEST, manifest)
    order = [task for task in parts.tasks if task in names]
    facts = card.Facts(plain, specs, metrics, order, name, licence)
    files.write_text(folder / CARD, card.write(facts))


def sha256(path: Path) -> str:
    """The digest of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def without_paths(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without the folders of the machine that it was used on.

    A data set that is described by a file keeps that file's name, and a run or file that it started
    from or was compared with its own; none is read to predict. Arrays are called after the data set
    that they were made from, and where they are no longer there, './<name of their folder>'.
    """
    return {key: _without_paths(key, value) for key, value in config.items()}


def _without_paths(option: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        inside = option in _NAMED  # {task: path}
        return {key: _without_paths(option if inside else key, v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(option, item) for item in value]
    if not isinstance(value, str) or not value:
        return value
    if option == "dataset":
        return _data_set(value)
    if option in _FOLDERS:
        return ""
    # Whatever an option of a part of one's own is called, a folder of this machine is none to tell.
    if option not in _NAMED and not value.startswith(("/", "~")):
        return value
    if option == "pretrained" and published.is_name(value):
        return value
    name = PurePath(value).name
    # A run may be called like published weights, and is not those.
    return f"./{name}" if option == "pretrained" and published.is_name(name) else name


def _data_set(dataset: str) -> str:
    kind, _, protocol = dataset.partition("/")
    if not dataset.startswith(card.ARRAYS):
        return f"{kind}/{PurePath(protocol).name}" if protocol else kind
    folder = Path(dataset.removeprefix(card.ARRAYS)).expanduser()
    try:
        made_from = files.read_json(folder / "arrays.json", lambda _: "")["dataset"]
        return card.ARRAYS + "/".join(made_from.split("/")[:2])
    except (UsageError, OSError, KeyError, AttributeError):
        return f"{card.ARRAYS}./{folder.name}"


def _metrics(directory: Workdir, config: Mapping, kind: str, step: int) -> dict[str, Any]:
    """What metrics.json holds: of this checkpoint, of stored evaluations, and over seeds."""
    results = directory.read_results()
    entry = results.get(baselines.ENTRY[kind]) or {}
    found: dict[str, Any] = {
        "split": results.get("split", config["eval"]["split"]),
        "seed": config["seed"],
        "step": step,
        "metrics": entry.get("metrics", {}) if entry.get("step") == step else {},
        "evaluations": {
            name: {key: stored[key] for key in ("split", "step", "metrics") if key in stored}
            for name, stored in directory.read_stored_evaluations().items()
            if stored["step"] == step
        },
        "training": {key: results.get(key) for key in _ON_RECORD if results.get(key) is not None},
        "versions": results.get("versions", {}),
    }
    together = Workdir(directory.path.parent)
    if directory.path in [run.path for run in together.seeds().values()]:
        over = together.read_results()
        report = over.get(baselines.ENTRY[kind], {})
        if "std" in report:
            found["over_seeds"] = {
                "seeds": over["seeds"],
                "mean": report["metrics"],
                "std": report["std"],
            }
    return found
