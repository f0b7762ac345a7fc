"""The latest and the best state of a run on disk. The only file that imports orbax."""

import contextlib
import dataclasses
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util
from orbax.checkpoint.checkpoint_managers import preservation_policy

from mtl_jax import _files
from mtl_jax.errors import ConfigError, InEveryProcess, UsageError
from mtl_jax.train_state import TrainState

KINDS = ("best", "latest")
_KEPT = {"best": 1, "latest": 2}


class CheckpointError(UsageError):
    """A checkpoint cannot be used; the message says which one, why, and what to do."""


class DiskFullError(CheckpointError):
    """There was no room for a checkpoint; those that were there before are whole."""


class _Damaged(Exception):
    """What is on disk is not what was saved."""


class Checkpoints:
    """The checkpoints of one work directory.

    `latest` keeps the newest two whole states, so that a damaged newest one costs an interval and
    not the run; `best` keeps the model of the best evaluation. Both are written to a temporary
    name, in the background, and renamed when complete. Each is saved with a CRC-32 of every array,
    which reading it checks.
    """

    def __init__(self, directory: Path):
        """Opens or creates the directory."""
        self._managers = {kind: _manager(Path(directory), kind, create=True) for kind in KINDS}

    def __enter__(self):
        return self

    def __exit__(self, _, error, __):
        """Closes, unless that would wait for other processes, which may be gone."""
        if error is None or isinstance(error, InEveryProcess) or jax.process_count() == 1:
            self.close()

    def save_latest(self, state: TrainState, info: dict[str, Any]) -> None:
        """Saves a whole state under its step, in the background.

        Args:
          state: to save.
          info: JSON-able facts that go with it.

        Raises:
          DiskFullError: also of the save before, and also from `wait` and `close`.
        """
        rest = dataclasses.replace(state, params={**state.params, "model": {}}, batch_stats={})
        self._save("latest", state, {"variables": state.variables, "rest": rest}, info)

    def save_best(self, state: TrainState, info: dict[str, Any]) -> None:
        """Saves the model's variables as the best so far, in the background."""
        self._save("best", state, {"variables": state.variables}, info)

    def _save(self, kind: str, state: TrainState, items: dict[str, Any], info) -> None:
        step, manager = int(state.step), self._managers[kind]
        steps = manager.all_steps()
        if step in steps:
            return
        for newer in (other for other in steps if other > step and kind == "best"):
            manager.delete(newer)  # made before a damaged state took the run back; only one is kept
        meta = {"info": info, "arrays": {name: _describe(tree) for name, tree in items.items()}}
        saved = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
        args = ocp.args.Composite(meta=ocp.args.JsonSave(meta), **saved)
        with _writing(manager):
            manager.save(step, args=args, force=True)

    def restore_latest(self, like: TrainState, report: Callable[[str], None]):
        """The newest state that is whole.

        Args:
          like: a state whose structure, shapes, dtypes and shardings are expected.
          report: called with a sentence about each damaged checkpoint that is passed over.

        Returns:
          (state, info), or None if there is no checkpoint at all.

        Raises:
          CheckpointError: there are checkpoints but none can be read, or one is of another model.
        """
        manager = self._managers["latest"]
        rest = dataclasses.replace(like, params={**like.params, "model": {}}, batch_stats={})
        expected = {"variables": like.variables, "rest": rest}
        steps = sorted(manager.all_steps(), reverse=True)
        for step in steps:
            try:
                items, info = _restore(manager, step, _as_saved(manager, step, expected))
            except _Damaged as error:
                report(f"Checkpoint {manager.directory / str(step)} is damaged: {error}.")
                continue
            for newer in (other for other in steps if other > step):
                # The run will come to these steps again and save them anew.
                report(f"It was moved to {_move_aside(manager, newer)}; going on from {step}.")
            variables, weighting = items["variables"], items["rest"].weighting
            state = dataclasses.replace(
                items["rest"],
                weighting=weighting if jax.tree.leaves(weighting) else like.weighting,
                params={**items["rest"].params, "model": variables["params"]},
                batch_stats=variables["batch_stats"],
            )
            return state, info
        if steps:
            raise CheckpointError(
                f"None of the checkpoints {steps} in {manager.directory} can be read. Restore one "
                "from a copy, or start anew in another work directory."
            )
        return None

    def best(self) -> tuple[int, dict[str, Any]] | None:
        """(step, info) of the model that is stored as the best; None if there is none to be had."""
        manager = self._managers["best"]
        steps = manager.all_steps()
        try:
            return (max(steps), _read_meta(manager, max(steps))["info"]) if steps else None
        except _Damaged:
            return None

    def wait(self) -> None:
        """Blocks until everything is on disk."""
        for manager in self._managers.values():
            with _writing(manager):
                manager.wait_until_finished()

    def close(self) -> None:
        """Waits and releases the managers."""
        for manager in self._managers.values():
            with _writing(manager):
                manager.close()


@contextlib.contextmanager
def _writing(manager: ocp.CheckpointManager) -> Iterator[None]:
    """Says what a full disk means, which the storage layer reports as a ValueError."""
    try:
        yield
    except (OSError, ValueError) as error:
        if not _files.is_full(error):
            raise
        raise DiskFullError(
            f"The disk is full, so no checkpoint could be saved in {manager.directory}. What was "
            "saved before is whole: free some space, and the same command goes on from there."
        ) from error


def read_variables(directory: Path, kind: str, like: Any = None) -> tuple[Any, int]:
    """The model's variables of a run, on the default device.

    Args:
      directory: of the checkpoints.
      kind: 'best' or 'latest'.
      like: variables whose names, shapes and dtypes are expected; None takes what there is.

    Returns:
      ({'params': ..., 'batch_stats': ...}, the step that they were saved at).

    Raises:
      CheckpointError: there is no such checkpoint, it is damaged, or it is of another model.
      ConfigError: `kind` is neither.
    """
    check_kind(kind)
    where = Path(directory).absolute() / kind
    manager = _manager(Path(directory), kind, create=False) if where.is_dir() else None
    try:
        steps = manager.all_steps() if manager else []
        if not steps:
            raise CheckpointError(_none_of(Path(directory), kind))
        step = max(steps)
        if like is None:
            like = _zeros(_read_meta(manager, step)["arrays"]["variables"])
        items, _ = _restore(manager, step, {"variables": like})
        return items["variables"], step
    except _Damaged as error:
        remedy = _other(Path(directory), kind) or "Restore it from a copy."
        raise CheckpointError(
            f"Checkpoint {where / str(step)} is damaged: {error}. {remedy}"
        ) from error
    finally:
        if manager:
            manager.close()


def _none_of(directory: Path, kind: str) -> str:
    """The message about a run that has no checkpoint of a kind."""
    message = f"There is no checkpoint in {directory.absolute() / kind}."
    if other := _other(directory, kind):
        return f"{message} {other}"
    return f"{message} A run saves its first one when it is first evaluated, or stopped."


def _other(directory: Path, kind: str) -> str:
    """How to use the checkpoint of the other kind; '' if there is none."""
    other = KINDS[1 - KINDS.index(kind)]
    if not (directory / other).is_dir():
        return ""
    with contextlib.closing(_manager(directory, other, create=False)) as manager:
        steps = manager.all_steps()
    if not steps:
        return ""
    why = " A run that is stopped before its first evaluation has that alone: train it on."
    return (
        f"There is one of step {max(steps)} in {other}: evaluate, predict, export and release take "
        f"it with --config.eval.checkpoint={other}, and mtl_jax.load with checkpoint={other!r}."
        + why
        * (other == "latest")
    )


def check_kind(kind: str) -> None:
    """Raises ConfigError if `config.eval.checkpoint` names no kind of checkpoint."""
    if kind not in KINDS:
        raise ConfigError(f"config.eval.checkpoint={kind!r}; expected one of {', '.join(KINDS)}.")


def _manager(directory: Path, kind: str, *, create: bool) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(
        preservation_policy=preservation_policy.LatestN(_KEPT[kind]),
        create=create,
        enable_async_checkpointing=create,
    )
    return ocp.CheckpointManager(directory.absolute() / kind, options=options)


def _restore(manager: ocp.CheckpointManager, step: int, like: dict[str, Any]):
    """({item: tree}, info); `_Damaged` or CheckpointError if it is not what is expected."""
    meta = _read_meta(manager, step)
    for name, tree in like.items():
        _check_same_model(
            manager.directory / str(step),
            {path: facts[:2] for path, facts in meta["arrays"][name].items()},
            {path: facts[:2] for path, facts in _describe(tree).items()},
        )
    try:
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        args = {name: ocp.args.StandardRestore(tree) for name, tree in abstract.items()}
        restored = manager.restore(step, args=ocp.args.Composite(**args))
        items = {name: restored[name] for name in like}
    except Exception as error:  # orbax and tensorstore raise many types for a broken file
        raise _Damaged(f"its arrays cannot be read ({_short(error)})") from error
    for name, tree in items.items():
        for path, facts in _describe(tree).items():
            if facts != meta["arrays"][name][path]:
                raise _Damaged(f"array {path} is not the one that was saved (checksums differ)")
    return items, meta["info"]


def _as_saved(manager: ocp.CheckpointManager, step: int, expected: dict[str, Any]):
    """`expected`, without the weighting's memory if the checkpoint has none.

    In older versions, methods that count their ascents now remembered nothing; they begin to count.
    """
    saved = _read_meta(manager, step)["arrays"]["rest"]
    if any(path.split("/")[0] == "weighting" for path in saved):
        return expected
    return {**expected, "rest": dataclasses.replace(expected["rest"], weighting={})}


def _read_meta(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    try:
        meta = manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]
        return {"info": meta["info"], "arrays": meta["arrays"]}
    except Exception as error:  # orbax raises many types for a broken file
        raise _Damaged(f"its metadata cannot be read ({_short(error)})") from error


def _describe(tree: Any) -> dict[str, list]:
    """{path: [shape, dtype, CRC-32]} of every array."""
    described = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        value = np.ascontiguousarray(leaf.addressable_data(0))
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        described[name] = [list(leaf.shape), str(leaf.dtype), zlib.crc32(value)]
    return described


def _zeros(described: dict[str, list]) -> dict[str, Any]:
    """Nested dicts of the arrays that `_describe` described, all zero."""
    flat = {path: np.zeros(shape, dtype) for path, (shape, dtype, _) in described.items()}
    tree = traverse_util.unflatten_dict(flat, sep="/")
    return jax.device_put({"params": {}, "batch_stats": {}} | tree)


def _check_same_model(where: Path, saved: dict[str, list], expected: dict[str, list]) -> None:
    """Raises CheckpointError if names, shapes or dtypes differ."""
    differences = [
        f"{path}: saved {saved.get(path, 'not at all')}, expected {expected.get(path, 'none')}"
        for path in sorted(set(saved) | set(expected))
        if saved.get(path) != expected.get(path)
    ]
    if differences:
        raise CheckpointError(
            f"Checkpoint {where} is of another model; {len(differences)} arrays differ:\n  "
            + "\n  ".join(differences[:5] + ["..."] * (len(differences) > 5))
            + "\nUse the config that it was trained with, or another work directory."
        )


def _move_aside(manager: ocp.CheckpointManager, step: int) -> Path:
    """Keeps a damaged checkpoint for inspection, under a name that no manager looks at."""
    source = Path(manager.directory) / str(step)
    target = source.parents[1] / "damaged" / f"{source.parent.name}_{step}"
    if jax.process_index() == 0:
        target.parent.mkdir(exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        source.rename(target)
    manager.reload()
    return target


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}{' ...' if len(text) > 300 else ''}"
