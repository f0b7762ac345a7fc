"""Reads the folder of a trained network, which anyone may have made.

Nothing of it is executed, no other file than those of `release.READ` is opened, and nothing is
allocated before its size has been compared with what is in the file.
"""

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from mtl_jax import options, system
from mtl_jax.errors import UsageError
from mtl_jax.hub import release
from mtl_jax.hub.release import ReleaseError
from mtl_jax.runs import checks, files
from mtl_jax.weights import safetensors_files

_LARGEST_JSON = 8 << 20  # bytes
_LARGEST_WEIGHTS = 16 << 30
# More than any network of this project has; a config may say how wide and how deep it is to be.
_LARGEST_NUMBER, _LONGEST_LIST = 1 << 16, 64
_MOST_CLASSES, _LONGEST_NAME = 4096, 200
_HUB_CACHE = re.compile(r"models--[\w.-]+--[\w.-]+")


@dataclasses.dataclass(frozen=True)
class Release:
    """What a folder holds.

    Attributes:
      config: complete.
      parts: the system that it describes.
      variables: {'params': ..., 'batch_stats': ...} of the model.
      learned: names of the tasks that the network has learned.
      step: of the checkpoint.
      metrics: what metrics.json holds.
      folder: where it was read from.
    """

    config: ConfigDict
    parts: system.System
    variables: dict[str, Any]
    learned: frozenset[str]
    step: int
    metrics: dict[str, Any]
    folder: Path


def read(folder: str | Path) -> Release:
    """Reads and checks a folder.

    Args:
      folder: as `release.write` writes it.

    Raises:
      ReleaseError: one line: which file is absent, damaged, too large, leads out of the folder or
        contradicts another.
    """
    folder = Path(folder).absolute()
    paths = {name: _inside(folder, name) for name in release.READ}
    try:
        manifest = _json(paths[release.MANIFEST], _manifest)
        _check_hashes(paths, manifest["sha256"])
        config = _json(paths[release.CONFIG], _config)
        specs = _json(paths[release.LABELS], _labels)
        metrics = _json(paths[release.METRICS], _metrics)
        complete = options.of_saved(files.from_json(config))
        parts = system.build(complete, specs)
        _check_learned(manifest["learned_tasks"], parts, folder)
        variables = _variables(paths[release.WEIGHTS], parts)
    except ReleaseError:
        raise
    except Exception as error:  # whatever a part finds impossible in what a stranger has written
        what = " ".join(str(error).split())[:400]
        raise ReleaseError(f"{folder} cannot be used: {what or type(error).__name__}") from error
    learned = frozenset(manifest["learned_tasks"])
    return Release(complete, parts, variables, learned, manifest["step"], metrics, folder)


def _inside(folder: Path, name: str) -> Path:
    """The path of a file, which has to be one, and in the folder (or in the hub's cache)."""
    path, root = folder / name, folder.resolve()
    if folder.parent.name == "snapshots" and _HUB_CACHE.fullmatch(folder.parents[1].name):
        root = folder.parents[1].resolve()  # where snapshots are links to blobs
    if not path.resolve().is_relative_to(root):
        raise ReleaseError(f"{path} leads out of its folder, to {path.resolve()}; it is not read.")
    if not path.is_file():
        raise ReleaseError(
            f"{folder} holds no released network: {name} is not there, or is no file. "
            "`mtl release --workdir=<run> --output=<folder>` writes such a folder."
        )
    limit = _LARGEST_WEIGHTS if name == release.WEIGHTS else _LARGEST_JSON
    if path.stat().st_size > limit:
        raise ReleaseError(f"{path} is larger than the {limit >> 20} MiB that it may have.")
    return path


def _json(path: Path, check: checks.Check) -> dict[str, Any]:
    try:
        return files.read_json(path, check)
    except UsageError as error:
        raise ReleaseError(str(error).removesuffix(" Restore it from a copy.")) from error


def _check_hashes(paths: Mapping[str, Path], expected: Mapping[str, str]) -> None:
    for name, path in paths.items():
        if name != release.MANIFEST and release.sha256(path) != expected.get(name):
            raise ReleaseError(
                f"{path} is not the file that {release.MANIFEST} tells of: its SHA-256 differs. "
                "Get the folder anew."
            )


def _variables(path: Path, parts: system.System) -> dict[str, Any]:
    """The arrays of the file, compared with the shapes of the network before any is made."""
    expected = traverse_util.flatten_dict(parts.shapes(), sep="/")
    found = safetensors_files.read(path)
    for name in sorted(expected.keys() | found.keys()):
        if name not in found or name not in expected:
            other = "no such" if name in found else "such a"
            raise ReleaseError(
                f"{path}: the network of config.json has {other} array {name!r:.200}."
            )
        told = (tuple(found[name].shape), np.dtype(found[name].dtype))
        wanted = (tuple(expected[name].shape), np.dtype(expected[name].dtype))
        if told != wanted:
            raise ReleaseError(
                f"{path}: {name} is {told[1]} {list(told[0])}, but {wanted[1]} {list(wanted[0])} "
                "in the network of config.json."
            )
    arrays = {name: jax.device_put(np.array(array)) for name, array in found.items()}
    return {"params": {}, "batch_stats": {}} | traverse_util.unflatten_dict(arrays, sep="/")


def _check_learned(names: list[str], parts: system.System, folder: Path) -> None:
    unknown = [name for name in names if name not in parts.tasks]
    if unknown:
        raise ReleaseError(
            f"{folder / release.MANIFEST}: the learned task {unknown[0]!r:.80} is not in "
            f"{release.CONFIG}, which has {', '.join(parts.tasks)}."
        )


def _manifest(found: dict[str, Any]) -> str:
    if found.get("format") != release.FORMAT:
        return (
            f"its format is {found.get('format')!r:.40}; this version reads {release.FORMAT}. "
            "pip install --upgrade mtl-jax"
        )
    step, names, hashes = (found.get(key) for key in ("step", "learned_tasks", "sha256"))
    if type(step) is not int or not 0 <= step < 1 << 40:
        return f"'step' is {step!r:.40}"
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return "'learned_tasks' are no names"
    if not isinstance(hashes, dict) or not all(isinstance(h, str) for h in hashes.values()):
        return "'sha256' has no digests"
    return ""


def _config(found: dict[str, Any]) -> str:
    return checks.config(found) or _beyond_bounds(found, "config")


def _beyond_bounds(value: Any, where: str) -> str:
    """What of a config is larger than any network's."""
    if isinstance(value, dict):
        items = [(f"{where}.{key}", item) for key, item in value.items()]
    elif isinstance(value, list):
        items = [(where, item) for item in value]
    else:
        items = []
        large = isinstance(value, int | float) and not abs(value) <= 1e12
        if where.startswith(("config.model.", "config.tasks.")) and type(value) is int:
            large = abs(value) > _LARGEST_NUMBER
        if large or (isinstance(value, str) and len(value) > _LONGEST_NAME):
            return f"{where:.100} is {str(value)[:40]}, more than there can be"
    if len(items) > (_LONGEST_LIST if isinstance(value, list) else _MOST_CLASSES):
        return f"{where:.100} has {len(items)} entries, more than there can be"
    return next(filter(None, (_beyond_bounds(item, key) for key, item in items)), "")


def _labels(found: dict[str, Any]) -> str:
    """See `checks.label_specs`; besides, what pages and figures show has to be showable."""
    problem = checks.label_specs(found)
    if problem:
        return problem
    for key, spec in found.items():
        names, palette = spec.get("class_names") or [], spec.get("palette") or []
        if len(names) > _MOST_CLASSES or (palette and len(palette) < len(names)):
            return f"{key!r:.80} has {len(names)} classes and {len(palette)} colours"
        for name in (*names, spec.get("unit") or ""):
            if len(name) > _LONGEST_NAME or not name.isprintable():
                return f"{key!r:.80} has a name that cannot be shown: {json.dumps(name)[:60]}"
        if not all(type(c) is int and 0 <= c <= 255 for colour in palette for c in colour):
            return f"{key!r:.80} has a colour that is none"
        numbers = [*(spec.get("valid_range") or ()), spec.get("mean"), spec.get("stddev")]
        if not all(math.isfinite(n) for n in numbers if n is not None):
            return f"{key!r:.80} has a number that is not finite"
        low, high = spec.get("valid_range") or (0, 1)
        if not low < high:
            return f"{key!r:.80} has the range {low} to {high}"
    return ""


def _metrics(found: dict[str, Any]) -> str:
    return files.no_metrics(found.get("metrics"))
