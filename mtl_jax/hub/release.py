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
from mtl_jax.runs.workdir import RELEASE, Workdir
from mtl_jax.weights import published, safetensors_files

FORMAT = 1
MANIFEST = RELEASE
CONFIG, LABELS, METRICS = "config.json", "labels.json", "metrics.json"
WEIGHTS, CARD = "model.safetensors", "README.md"
# All that is ever read of a folder; the card is for people.
READ = (MANIFEST, CONFIG, LABELS, METRICS, WEIGHTS)
# What metrics.json says about how the numbers came about. No paths, and no names of machines.
_ON_RECORD = ("steps", "train_seconds", "images_per_second", "parameters", "devices", "date")
_FOLDERS = ("data_dir", "manual_dir")
_FILES = ("file", "ids", "baselines")  # of labels and scores, and the runs that were compared with
_ARRAYS = "arrays:"


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


def without_paths(config: dict[str, Any]) -> dict[str, Any]:
    """A config without the folders of the machine that it was used on.

    Data that are described by a file or lie in a folder keep its name, and so does a run or a file
    that it started from or was compared with; none is read to predict.
    """
    found: dict[str, Any] = {
        key: without_paths(value) if isinstance(value, dict) else value
        for key, value in config.items()
    }
    for key in _FOLDERS:
        if found.get(key):
            found[key] = ""
    for key in _FILES:
        if isinstance(where := found.get(key), str):
            found[key] = PurePath(where).name
        elif where:
            found[key] = [PurePath(each).name for each in where]
    source = found.get("pretrained")
    if source and not published.is_name(source):
        name = PurePath(source).name
        # A run may be called like published weights, and is not those.
        found["pretrained"] = f"./{name}" if published.is_name(name) else name
    for key in ("pretrained_heads", "single_task"):
        if found.get(key):
            found[key] = {task: PurePath(where).name for task, where in found[key].items()}
    dataset = found.get("dataset")
    if dataset and dataset.endswith((".yaml", ".yml")):
        found["dataset"] = f"{dataset.partition('/')[0]}/{PurePath(dataset).name}"
    elif dataset and dataset.startswith(_ARRAYS):
        found["dataset"] = _ARRAYS + PurePath(dataset.removeprefix(_ARRAYS)).name
    return found


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
