"""Finds a part (an encoder, a task, a weighting ...) by the name of its module.

A new part is one new file: there is no list to extend. A name that no module has is an error that
says which names exist and which is nearest.
"""

import importlib
import pkgutil
import types

from mtl_jax.errors import ConfigError, did_you_mean


def names(package: types.ModuleType) -> list[str]:
    """The public modules of `package`, sorted."""
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
