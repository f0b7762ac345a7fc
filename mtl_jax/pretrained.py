"""Starting from weights that exist already."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtl_jax import checkpoints
from mtl_jax.train_state import TrainState

SCOPES = ("encoder", "all")


def load(state: TrainState, config: Any, *, report: Callable[[str], None]) -> TrainState:
    """Replaces a fresh state's weights by those of another run's best checkpoint.

    Args:
      state: before the first step.
      config: `config.model`; `pretrained` is a work directory, `pretrained_scope` is 'encoder' or
        'all'. With 'all' a task's prediction convolution may have another number of outputs, and
        tasks may be absent on either side; what has no counterpart keeps its initial value.
      report: called with what was loaded and what was not, and why.

    Raises:
      CheckpointError: the work directory has no whole checkpoint.
      ValueError: the scope is unknown, or an array that has to match does not.
    """
    if config.pretrained_scope not in SCOPES:
        raise ValueError(
            f"config.model.pretrained_scope={config.pretrained_scope!r}; expected one of "
            f"{', '.join(SCOPES)}."
        )
    source, _ = checkpoints.read_variables(Path(config.pretrained) / "checkpoints", "best")
    target = state.variables
    found = {_name(path): value for path, value in jax.tree_util.tree_leaves_with_path(source)}
    wanted = {_name(path): value for path, value in jax.tree_util.tree_leaves_with_path(target)}
    new, kept = _match(found, wanted, config.pretrained_scope)
    variables = jax.tree_util.tree_map_with_path(
        lambda path, value: jax.device_put(new.get(_name(path), value), value.sharding), target
    )
    report(f"Loaded {len(new)} of {len(wanted)} arrays from {config.pretrained}.")
    for reason, names in kept.items():
        report(f"  {len(names)} keep their initial value, {reason}: {_some(names)}")
    return state.replace(
        params={**state.params, "model": variables["params"]},
        batch_stats=variables["batch_stats"],
    )


def _match(found: dict, wanted: dict, scope: str) -> tuple[dict[str, np.ndarray], dict]:
    """{name: array to load}, {reason: names that keep their initial value}."""
    outside, absent, outputs, wrong = [], [], [], []
    new = {}
    for name, value in wanted.items():
        in_encoder = name.split("/")[1] == "encoder"
        if scope == "encoder" and not in_encoder:
            outside.append(name)
        elif name not in found:
            (wrong if in_encoder else absent).append(name)
        elif found[name].shape == value.shape:
            new[name] = found[name]
        elif not in_encoder and found[name].shape[:-1] == value.shape[:-1]:
            outputs.append(name)
        else:
            wrong.append(name)
    if wrong or not new:
        raise ValueError(
            f"config.model.pretrained is of another model: {len(wrong)} arrays have no counterpart "
            f"of the same shape: {_some(wrong)}. Use the same config.model.encoder (and, for "
            "pretrained_scope='all', the same architecture)."
        )
    kept = {
        "being outside the encoder": outside,
        "because the other run has no such task or layer": absent,
        "because the number of outputs differs": outputs,
    }
    return new, {reason: names for reason, names in kept.items() if names}


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
