"""What the task types share in reading their config and checking shapes."""

from collections.abc import Mapping
from typing import Any

from mtl_jax import _options
from mtl_jax.errors import ConfigError


def read(name: str, config: Any, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The options of task `name`: `defaults`, with what `config` sets to anything but None.

    Args:
      name: of the task.
      config: `config.tasks.<name>`.
      defaults: every option that the task type has, besides `type` and `key`.

    Raises:
      ConfigError: `config` has an option that the task type lacks.
    """
    common = {"type": None, "key": None}
    options = _options.read(config, common | dict(defaults), key=f"config.tasks.{name}")
    return {option: options[option] for option in defaults}


def choice(name: str, option: str, value: str, available: Mapping[str, Any]) -> Any:
    """`available[value]`, or a ValueError that says what is available."""
    return _options.choice(value, available, key=f"config.tasks.{name}.{option}")


def expect_kind(name: str, key: str, spec: Mapping[str, Any] | None, kinds: tuple[str, ...]):
    """Raises ValueError if the data set's `key` holds something else than one of `kinds`."""
    if spec is not None and spec["kind"] not in kinds:
        raise ConfigError(
            f"config.tasks.{name}: its type needs labels of kind {' or '.join(kinds)}, but the "
            f"data set's {key!r} is of kind {spec['kind']!r}. Set config.tasks.{name}.key to "
            "another key, or type to another task type."
        )


def expect_shape(name: str, what: str, found: tuple[int, ...], expected: tuple[int, ...]):
    """Raises ValueError if the shapes, which are static, differ."""
    if tuple(found) != tuple(expected):
        raise ValueError(f"Task {name!r}: expected {what} of shape {expected}, found {found}.")
