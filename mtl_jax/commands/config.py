"""The config that is asked for: by a name, by a file, or of the run in a work directory."""

import importlib
import importlib.util
import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from mtl_jax import _discovery, configs
from mtl_jax.errors import ConfigError, did_you_mean, own_code
from mtl_jax.runs import files, workdir

SHIPPED = Path(next(iter(configs.__path__))).resolve()
_NO_EXPERIMENTS = ("benchmarks", "common", "from_sweep", "from_workdir", "sweeps")


def load(which: str | Path, changes: Sequence[str] = ()) -> ConfigDict:
    """The config of `--config=<which>`, locked.

    Args:
      which: `'branched'` or `'branched:kitti'`, a config of this project with its protocol; or a
        file that defines `get_config`, such as `'my/configs/branched.py:kitti'`.
      changes: `--config.<key>=<value>` each, see `options.resolve`.

    Raises:
      ConfigError: there is no such config, protocol or key; or the file has a mistake.
    """
    name = str(which).partition(":")[0]
    with own_code(f"--config={which}", _path(name)):
        get_config = _function(_module(name), name)
        arguments = _arguments(get_config, which)
        config = checked(get_config(*arguments), f"--config={which}: get_config has to return one")
    from mtl_jax import options  # only here: the parts that it asks for options import JAX

    options.resolve(config, changes)
    return config.lock()


def checked(config: Any, where: str) -> ConfigDict:
    """The config, if it is one. Raises ConfigError otherwise; `where` begins the message."""
    if not isinstance(config, ConfigDict):
        hint = " Is its last line, `return config`, missing?" if config is None else ""
        raise ConfigError(f"{where}: expected a ConfigDict, found {config!r:.100}.{hint}")
    return config


def of_run(directory: str | Path, changes: Sequence[str] = ()) -> ConfigDict:
    """The config that the run in a work directory was started with.

    Raises:
      WorkdirError: there is no run.
      ConfigError: a key that the config lacks.
    """
    return load(f"from_workdir:{workdir.Workdir(directory).path}", changes)


def names() -> list[str]:
    """The configs of this project."""
    return [name for name in _discovery.names(configs) if name not in _NO_EXPERIMENTS]


def check(config: ConfigDict) -> None:
    """Refuses what a config alone shows to be impossible, before any data set is opened.

    Args:
      config: of a run, complete.

    Raises:
      UsageError: a part of it is impossible, or what it is to start from is not what that can be.
    """
    from mtl_jax import system
    from mtl_jax.weights import published

    system.check(config)
    published.check(config.model)
    for source in (config.model.pretrained, *config.model.get("single_task", {}).values()):
        if source:
            workdir.Workdir(source).check_not_released()


def show(config: ConfigDict) -> str:
    """One line for each key, `train.batch_size=8`: what `--config.<line>` would set."""
    flat = files.flatten(config.to_dict())
    return "\n".join(f"{key}={value}" for key, value in flat.items())


def _module(name: str) -> ModuleType:
    """The module of a name or a path."""
    if not name.endswith(".py"):
        if name not in _discovery.names(configs):
            raise ConfigError(_unknown(name))
        return importlib.import_module(f"{configs.__name__}.{name}")
    path = _path(name)
    if path.is_relative_to(SHIPPED) and path.is_file():  # imported once, whatever it is called by
        inside = path.relative_to(SHIPPED).with_suffix("")
        return importlib.import_module(".".join([configs.__name__, *inside.parts]))
    spec = importlib.util.spec_from_file_location(f"_config_{path.stem}", path)
    assert spec is not None  # as the name ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except OSError as error:
        if Path(str(error.filename)) != path:
            raise
        raise ConfigError(
            f"--config={name} cannot be read: {error.strerror}. The current folder is "
            f"{Path.cwd()}. {_unknown(path.stem)}"
        ) from error
    return module


def _path(name: str) -> Path:
    return Path(os.path.expanduser(name)).resolve()


def _unknown(name: str) -> str:
    available = names()
    hint = did_you_mean(name, available, form="--config={}")
    return (
        f"There is no config {name!r}.{hint} This project's are {', '.join(available)}, with "
        "'<name>:<protocol>' for one of their protocols; a file of one's own ends in .py."
    )


def _function(module: ModuleType, name: str):
    if not callable(getattr(module, "get_config", None)):
        raise ConfigError(f"--config={name}: it has no function get_config.")
    return module.get_config


def _arguments(get_config: Callable[..., Any], which: str | Path) -> tuple[str, ...]:
    """The protocol, if `which` names one."""
    name, colon, protocol = str(which).partition(":")
    parameters = inspect.signature(get_config).parameters.values()
    if colon and not parameters:
        raise ConfigError(f"--config={which}: {name} has no protocols; leave out ':{protocol}'.")
    needed = [p for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(needed) > bool(colon):
        raise ConfigError(
            f"--config={which}: get_config needs {', '.join(p.name for p in needed)}; it may "
            f"need a protocol at most, which --config={name}:<protocol> names."
        )
    return (protocol,) if colon else ()
