"""A config and the options that its parts declare beside their code.

    options.fill(config)            # complete, checked; an option of another method is refused
    print(options.describe(config)) # every option with its value and its meaning

A config says which parts it has (`weighting.name`, `model.encoder.name` ...) and what differs from
their defaults. Adding a part is one file: nothing here or in configs/ names it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from mtl_jax import _options, _sections, architectures, encoders, overrides, tasks, weightings
from mtl_jax._options import Each, Option, Part, text, whole
from mtl_jax.errors import ConfigError
from mtl_jax.optimizers import rules, schedules

_CHOOSING = ("name", "architecture", "type")  # the last parts of keys that may choose a module

SCHEMA = {
    "name": Option("", "of the run; its folder by default is runs/<name>", text),
    "seed": Option(0, "of everything that is random", whole(least=0)),
    "data": _sections.DATA,
    "model": architectures.PART,
    "tasks": Each(tasks.PART, "the tasks, by names of one's own"),
    "task_order": Option((), "of channels and losses; () = as `tasks` was written"),
    "weighting": weightings.PART,
    "optimizer": rules.PART,
    "schedule": schedules.PART,
    "train": _sections.TRAIN,
    "eval": _sections.EVAL,
    "predict": _sections.PREDICT,
}


def defaults() -> dict[str, Any]:
    """What a config starts from: all but the options of the parts that it will choose."""
    return _options.defaults(SCHEMA)


def fill(config: ConfigDict, *, saved: bool = False) -> None:
    """Completes a config in place with the defaults of the parts that it names, and checks it.

    Args:
      config: of a run.
      saved: it is a run's config.json. What older versions wrote into one section for all methods,
        whichever was used, is left out; and where they kept no order of the tasks, it is that of
        the alphabet, in which they built the network.

    Raises:
      ConfigError: an unknown option, one of another method, or an impossible value.
    """
    found = _options.complete(config, SCHEMA, key="config", drop=saved)
    if saved and "task_order" not in config:
        found["task_order"] = tuple(sorted(found["tasks"]))
    found["task_order"] = _order(found)
    with config.unlocked(), config.ignore_type():
        for key, value in found.items():
            config[key] = ConfigDict(value) if isinstance(value, dict) else value


def filled(config: ConfigDict) -> ConfigDict:
    """A complete copy of a config; see `fill`. Of a complete one, the same again."""
    config = config.copy_and_resolve_references()
    fill(config)
    return config


def resolve(config: ConfigDict, changes: Sequence[str] = ()) -> None:
    """Completes a config as the command line changes it.

    What is chosen by name is chosen first, so that the options of what is chosen can be set.

    Args:
      config: as a config file gives it; changed in place.
      changes: `--config.<key>=<value>` each, see `overrides`.

    Raises:
      ConfigError: see `fill` and `overrides.apply`.
    """
    choices, others = [], []
    for change in changes:
        key, _, value = change.removeprefix(overrides.PREFIX).partition("=")
        if key.rpartition(".")[2] in _CHOOSING and "." in key:
            choices.append((key, value))
        else:
            others.append(change)
    for key, value in sorted(choices, key=lambda choice: choice[0].count(".")):  # outer parts first
        what = _declaration(config, tuple(key.split(".")[:-1]))
        if isinstance(what, Part) and what.by == key.rpartition(".")[2]:
            select(config, key, value)
        else:
            others.append(f"{overrides.PREFIX}{key}={value}")
    fill(config)
    if others:
        overrides.apply(config, others)
        fill(config)


def of_saved(saved: Mapping[str, Any]) -> ConfigDict:
    """The complete config of a run.

    Args:
      saved: its config.json, with tuples for lists.

    Raises:
      ConfigError: see `fill`.
    """
    config = ConfigDict(saved)
    fill(config, saved=True)
    return with_short_statistics(config)


def with_short_statistics(config: ConfigDict) -> ConfigDict:
    """A copy of a config with () for statistics of images that are what () means.

    Older versions wrote them out, and people may.
    """
    config = config.copy_and_resolve_references()
    model = config.get("model", {})
    for key, expected in encoders.expected_statistics(model).items():
        if model.get(key) == expected:
            model[key] = ()
    return config


def keep_order(config: ConfigDict, saved: Mapping[str, Any]) -> None:
    """Gives a config the order of tasks that a run has had so far, if its config.json says none.

    Versions before `config.task_order` built networks in the order of the alphabet.
    """
    if "tasks" in saved and "task_order" not in saved:
        with config.unlocked():
            config.task_order = tuple(sorted(config.tasks))


def task_order(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a config's tasks in the order of the network's channels.

    Raises:
      ConfigError: `config.task_order` names a task that there is not.
    """
    return _order({"tasks": config["tasks"], "task_order": config.get("task_order", ())})


def _order(config: Mapping[str, Any]) -> tuple[str, ...]:
    written, order = _options.names_as_written(config["tasks"]), tuple(config["task_order"])
    if unknown := [name for name in order if name not in written]:
        raise ConfigError(
            f"config.task_order names {', '.join(unknown)}; config.tasks has {', '.join(written)}."
        )
    return order + tuple(name for name in written if name not in order)


def select(config: ConfigDict, key: str, name: str) -> None:
    """Chooses another module, and drops what the config says of the former one's options alone.

    Args:
      config: of a run; complete or not.
      key: where a module is named: 'weighting.name', 'model.encoder.name', 'tasks.depth.type' ...
        A task that is not there is added.
      name: of the module.

    Raises:
      ConfigError: nothing is chosen by that key, or there is no such module.
    """
    *path, by = key.split(".")
    part = _declaration(config, tuple(path))
    if not isinstance(part, Part) or part.by != by:
        raise ConfigError(f"config.{key}={name!r}: no part is chosen by this key.")
    options = part.options(name, key=f"config.{key}")
    section = config
    with config.unlocked():
        for step in path:
            if step not in section:
                section[step] = ConfigDict()
            section = section[step]
        _drop_others(section, {by: None, **options})
        section[by] = name


def _drop_others(section: ConfigDict, options: Mapping[str, Any]) -> None:
    for name in list(section):
        if name not in options:
            del section[name]
        elif type(options[name]) is dict and isinstance(section[name], ConfigDict):
            _drop_others(section[name], options[name])


def _declaration(config: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """What declares the section or the option at a path; None if nothing does."""
    what, where, done = SCHEMA, config, []
    for step in path:
        if isinstance(what, Part):
            name = where.get(what.by) or what.default
            what = what.options(name, key=".".join(["config", *done, what.by])) if name else {}
        what = what.part if isinstance(what, Each) else what
        if isinstance(what, Mapping):
            what = what.get(step)
        where = where.get(step) or {} if isinstance(where, Mapping | ConfigDict) else {}
        done.append(step)
    return what


def describe(config: ConfigDict) -> str:
    """Every option of a complete config: `config.<key>=<value>`, what it means, what else there is.

    Args:
      config: see `fill`.
    """
    lines = _described(config, SCHEMA, "config")
    width = min(max(len(left) for left, _ in lines), 48)
    return "\n".join(f"{left:<{width}}  {right}".rstrip() for left, right in lines)


def _described(section: Mapping, options: Mapping, key: str) -> list[tuple[str, str]]:
    lines = []
    for name, what in options.items():
        where, value = f"{key}.{name}", section.get(name)
        if isinstance(what, Option):
            shown = value.to_dict() if isinstance(value, ConfigDict) else value
            lines.append((f"{where}={shown!r}", what.meaning))
        elif isinstance(what, Part):
            lines += _described_part(value, what, where)
        elif isinstance(what, Each):
            assert value is not None  # as of every complete config
            for given in _options.names_as_written(value):
                lines += _described_part(value[given], what.part, f"{where}.{given}")
        else:
            lines += _described(value, what, where)
    return lines


def _described_part(section: Mapping, part: Part, key: str) -> list[tuple[str, str]]:
    name, others = section[part.by], [n for n in part.names() if n != section[part.by]]
    also = f"; or {', '.join(others)}" if others else ""
    head = (f"{key}.{part.by}={name!r}", f"{part.meaning}{also}")
    return [head, *_described(section, part.options(name, key=key), key)]
