"""Tasks: targets, loss, metrics, post-processing and pictures of one kind of output each.

One module per type. A task knows no architecture and no data set, only a `LabelSpec` as a dict.
"""

import re
import sys
from collections.abc import Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from mtl_jax import _discovery, _options
from mtl_jax._options import Option, text
from mtl_jax.errors import ConfigError
from mtl_jax.tasks import _specs
from mtl_jax.tasks._task import Task

COMMON = {
    "key": Option(None, "the batch's key of its labels; None: the task's name", text, measures=True)
}
PART = _options.Part(sys.modules[__name__], "", "a kind of output", by="type")


def headline(type_name: str) -> tuple[str, str]:
    """(metric, 'max' or 'min') by which a checkpoint of a task of that type alone is chosen.

    Raises:
      ConfigError: there is no such type.
    """
    return _discovery.load(sys.modules[__name__], type_name, key="type").HEADLINE


def tabled(type_name: str) -> dict[str, str]:
    """{metric: 'max' or 'min'} of what the field's tables compare of a task of that type.

    The metric that stands for the task comes first.

    Raises:
      ConfigError: there is no such type.
    """
    module = _discovery.load(sys.modules[__name__], type_name, key="type")
    return dict(getattr(module, "TABLED", [module.HEADLINE]))


def measured_with(name: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """{dotted key: value} of what two configs must share for metrics of a task to be compared.

    Args:
      name: of the task.
      section: `config.tasks.<name>` as plain JSON values; what it does not say is the default.

    Raises:
      ConfigError: there is no such type.
    """
    prefix = f"tasks.{name}"
    options = PART.options(section[PART.by], key=f"config.{prefix}.{PART.by}")
    found = {
        f"{prefix}.{option}": section.get(option, what.default)
        for option, what in options.items()
        if isinstance(what, Option) and what.measures
    }
    key = f"{prefix}.key"
    return {f"{prefix}.{PART.by}": section[PART.by]} | found | {key: found[key] or name}


def postprocess_all(
    tasks: Mapping[str, Task], predictions: Mapping[str, jax.Array]
) -> dict[str, dict[str, jax.Array]]:
    """{task: what its `postprocess` makes}, of tasks that may need each other's maps.

    Args:
      tasks: {name: Task}, with every task that one of them needs.
      predictions: {name: [B, H, W, C]}.
    """
    maps = {
        name: task.postprocess(predictions[name]) for name, task in tasks.items() if not task.needs
    }
    for name, task in tasks.items():
        if task.needs:
            maps[name] = task.postprocess(predictions[name], *needed_maps(task, maps))
    return {name: maps[name] for name in tasks}


def needed_maps(task: Task, maps: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """What `task` needs, from the result of `postprocess_all`."""
    return [maps[name][name] for name in task.needs]


def build(config_tasks: Any, label_specs: Mapping[str, Mapping[str, Any]]) -> dict[str, Task]:
    """Builds the tasks that a config names.

    Args:
      config_tasks: `config.tasks`, {name: {'type': a module of this package, 'key': the batch's
        key, by default the name, ...: the options of that type}}.
      label_specs: {key: LabelSpec as a dict} of the data set. A task whose key is not among them
        is unlabelled there; its config must then give what the spec would have told.

    Returns:
      {name: Task} in the order in which `config_tasks` was written, though a ConfigDict lists its
      keys in alphabetical order.

    Raises:
      ConfigError: no task at all, an unknown type or option, or a fact that is missing.
    """
    if not config_tasks:
        raise ConfigError("config.tasks is empty; expected at least one task, e.g. 'semseg'.")
    tasks = {}
    for name in _options.names_as_written(config_tasks):
        _check_name(name)
        key = f"config.tasks.{name}"
        options = _options.complete_part(config_tasks[name], PART, key=key)
        module = _discovery.load(
            sys.modules[__name__], options.pop(PART.by), key=f"{key}.{PART.by}"
        )
        options = ConfigDict(options)
        options.key = options.key or name
        spec = label_specs.get(options.key)
        _specs.expect_kind(name, options.key, spec, module.KINDS)
        tasks[name] = module.build(name, options, spec)
    return {name: _join(task, tasks) for name, task in tasks.items()}


def _check_name(name: str) -> None:
    """Names are parts of file names, of metrics' and parameters' names, and of flags."""
    if not re.fullmatch(r"\w[\w-]{0,63}", name):
        raise ConfigError(
            f"config.tasks: {name[:80]!r} cannot be the name of a task; expected up to 64 letters, "
            "digits, underscores and hyphens, such as 'semseg'."
        )


def _join(task: Task, tasks: Mapping[str, Task]) -> Task:
    for name in task.needs:
        if name not in tasks or tasks[name].needs:
            others = [other for other, t in tasks.items() if not t.needs]
            raise ConfigError(
                f"config.tasks.{task.name} needs the task {name!r}; expected one of config.tasks "
                f"that needs none itself: {', '.join(others) or 'there is none'}."
            )
    return task.join(tasks)
