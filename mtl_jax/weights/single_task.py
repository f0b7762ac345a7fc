"""Networks side by side that start from runs of single tasks, each from its own."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtl_jax import checkpoints, optimizers
from mtl_jax.train_state import TrainState
from mtl_jax.weights._replacing import with_arrays
from mtl_jax.weights.published import PretrainedError


def load(
    state: TrainState,
    runs: Mapping[str, str],
    *,
    report: Callable[[str], None],
) -> TrainState:
    """Replaces a fresh state's weights by those of stored runs of single tasks.

    Of each run the best checkpoint is taken: its `encoder` is ours of that task,
    `encoder_<task>`, and what else is the task's own has the same name in both. What
    the networks exchange features by keeps its initial value.

    Args:
      state: before the first step.
      runs: {task: work directory}.
      report: called with what was loaded, and what was not.

    Raises:
      CheckpointError: a work directory has no whole checkpoint.
      PretrainedError: there is no such work directory, or its network is another one.
    """
    leaves = jax.tree_util.tree_leaves_with_path(state.variables)
    wanted = {_names(path): leaf for path, leaf in leaves}
    new = {}
    for task, directory in runs.items():
        ours = {
            names: leaf
            for names, leaf in wanted.items()
            if names[1] == f"encoder_{task}"
            or optimizers.group_of(("model", *names[1:]), tuple(runs)) == task
        }
        new |= _of_one(ours, task, Path(directory).expanduser(), report)
    kept = sorted({names[1] for names in wanted.keys() - new.keys()})
    report(f"  What they exchange by keeps its initial value: {', '.join(kept)}")
    return with_arrays(state, new, _names)


def _of_one(
    ours: Mapping[tuple[str, ...], Any], task: str, directory: Path, report
) -> dict[tuple[str, ...], np.ndarray]:
    """What the task's network takes from its run; keys are those of `ours`."""
    key = f"config.model.single_task.{task}={str(directory)!r}"
    if not directory.is_dir():
        raise PretrainedError(f"{key}: there is no such work directory.")
    source, step = checkpoints.read_variables(directory / "checkpoints", "best")
    found = {_names(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(source)}
    new, wrong = {}, []
    for names, leaf in ours.items():
        collection, module, *rest = names
        their = (collection, "encoder" if optimizers.is_encoder(module) else module, *rest)
        array = found.pop(their, None)
        if array is None or array.shape != leaf.shape:
            shape = "nothing" if array is None else array.shape
            wrong.append(f"{'/'.join(their)}: expected {leaf.shape}, found {shape}")
        else:
            new[names] = array
    wrong += [f"{'/'.join(names)}: in the run only" for names in found]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise PretrainedError(
            f"{key} is not a run of this task alone with the same config.model.encoder and "
            f"decoder; {len(wrong)} arrays differ:\n  " + "\n  ".join(wrong[:5]) + more
        )
    report(f"Loaded {len(new)} arrays of {task} from step {step} of {directory}.")
    return new


def _names(path: tuple) -> tuple[str, ...]:
    return tuple(optimizers.names_of(path))
