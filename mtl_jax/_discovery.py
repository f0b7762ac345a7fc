"""Finds a part (an encoder, a task, a weighting ...) by the name of its module.

A new part is one new file: there is no list to extend. A name that no module has is an error that
says which names exist and which is nearest.

A file of one's own need not be put among those of the package: with MTL_JAX_PARTS=my_parts in the
environment, my_parts/encoders/mine.py is the encoder `mine`, my_parts/tasks/mine.py the task so
called. Several folders have a colon (on Windows a semicolon) between.
"""

import importlib
import os
import pkgutil
import types
from pathlib import Path

from mtl_jax.errors import ConfigError, UsageError, did_you_mean

PARTS = "MTL_JAX_PARTS"


def names(package: types.ModuleType) -> list[str]:
    """The public modules of `package`, sorted."""
    _add_own(package)
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name for name in found if not name.startswith("_"))


def load(package: types.ModuleType, name: str, *, key: str) -> types.ModuleType:
    """Imports the module `name` of `package`.

    Args:
      package: e.g. `mtl_jax.encoders`.
      name: the module's name, e.g. `'resnet'`.
      key: the config key that the name came from, for the error.

    Raises:
      ConfigError: no such module.
    """
    available = names(package)
    if name not in available:
        raise ConfigError(
            f"{key}={name!r}: there is no such module in {package.__name__}."
            f"{did_you_mean(name, available)} "
            f"Available: {', '.join(available)}."
        )
    return importlib.import_module(f"{package.__name__}.{name}")


def _add_own(package: types.ModuleType) -> None:
    """Lets a package find the user's modules, too. Raises UsageError if a folder is not there."""
    for text in filter(None, os.environ.get(PARTS, "").split(os.pathsep)):
        folder = Path(text).expanduser().absolute()
        if not folder.is_dir():
            raise UsageError(f"{PARTS}={os.environ[PARTS]}: there is no folder {folder}.")
        own = str(folder / package.__name__.rpartition(".")[2])
        if own not in package.__path__ and os.path.isdir(own):
            package.__path__.append(own)
