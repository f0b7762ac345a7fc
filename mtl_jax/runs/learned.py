"""Which tasks a run learns: decided when it starts, and kept in its work directory.

Other tasks of its config have no labels, so their outputs mean nothing and are never written.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtl_jax.runs.workdir import Workdir
from mtl_jax.tasks import Task
from mtl_jax.weights import load, published

_FILES = (".pth", ".pt", ".safetensors")  # published weights, which hold no task


def decide(tasks: Mapping[str, Task], label_specs: Mapping[str, dict], model: Any) -> list[str]:
    """Names of the tasks that a run learns, or has learned by where it starts from.

    Args:
      tasks: {name: Task}.
      label_specs: {key: `LabelSpec.as_dict()`} of the data that it is trained on.
      model: `config.model`. With `pretrained_scope='all'` it starts from all weights of a run, so
        what that one learned is learned here too, by the task's name. So is what starts from a
        released head, and all tasks of a released network.
    """
    names = {name for name, task in tasks.items() if task.key in label_specs}
    names |= tasks.keys() & model.get("pretrained_heads", {}).keys()
    if load.is_released(model):
        names |= tasks.keys()
    elif model.pretrained_scope == "all" and model.pretrained:
        parent = Workdir(model.pretrained)
        if parent.config.exists():
            config = parent.read_config()
            keys = {n: (t.get("key") or n) for n, t in config["tasks"].items()}
            names |= _read(parent, keys, config["model"]) & tasks.keys()
    return sorted(names)


def read(directory: Workdir, tasks: Mapping[str, Task], model: Any) -> set[str]:
    """Names of the tasks that the run of a work directory has learned.

    Directories of before version 0.2 do not say. There it is the tasks with labels in the run's
    data, and all of them if it started from all weights of another run. That need not exist now.

    Args:
      directory: of the run.
      tasks: {name: Task}.
      model: `config.model` of the run.
    """
    return _read(directory, {name: task.key for name, task in tasks.items()}, model)


def _read(directory: Workdir, keys: Mapping[str, str], model: Any) -> set[str]:
    saved = directory.read_learned_tasks()
    if saved is not None:
        return set(saved)
    if model["pretrained_scope"] == "all" and _names_a_run(model["pretrained"]):
        return set(keys)
    specs = directory.read_label_specs()
    return {name for name, key in keys.items() if key in specs}


def _names_a_run(pretrained: str) -> bool:
    is_file = Path(pretrained).suffix in _FILES
    return bool(pretrained) and not is_file and not published.is_name(pretrained)
