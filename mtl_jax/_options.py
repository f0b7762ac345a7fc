"""Checks of config sections whose options a module reads."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp

from mtl_jax.errors import ConfigError


def check(section: Mapping, known: Iterable[str], *, key: str) -> None:
    """Refuses options that nothing would read, and names those that are missing.

    Args:
      section: e.g. `config.model.encoder`.
      known: every option of it.
      key: where it is, for the error, e.g. `'config.model.encoder'`.

    Raises:
      ConfigError: an option is unknown or absent.
    """
    known = tuple(known)
    _refuse_unknown(section, known, key)
    missing = [option for option in known if option not in section]
    if missing:
        raise ConfigError(f"{key} lacks {', '.join(missing)}; it needs {', '.join(known)}.")


def read(section: Mapping, defaults: Mapping[str, Any], *, key: str) -> dict[str, Any]:
    """`defaults`, with what `section` sets to anything but None.

    Args:
      section: e.g. `config.tasks.depth`.
      defaults: every option that there is.
      key: where it is, for the error.

    Raises:
      ConfigError: `section` has an option that `defaults` lacks.
    """
    _refuse_unknown(section, tuple(defaults), key)
    return dict(defaults) | {name: value for name, value in section.items() if value is not None}


def choice(value: str, available: Mapping[str, Any], *, key: str) -> Any:
    """`available[value]`, or a ValueError that says what is available."""
    if value not in available:
        raise ConfigError(f"{key}={value!r}; expected one of {', '.join(available)}.")
    return available[value]


def dtype(name: str, *, key: str) -> jnp.dtype:
    """The compute type of that name.

    Raises:
      ConfigError: it is neither 'float32' nor 'bfloat16'.
    """
    if name not in ("float32", "bfloat16"):
        raise ConfigError(f"{key}={name!r}; expected 'float32' or 'bfloat16'.")
    return jnp.dtype(name)


def _refuse_unknown(section: Mapping, known: tuple[str, ...], key: str) -> None:
    for option in section:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"{key}.{option} is unknown.{hint} Known: {', '.join(known)}.")
