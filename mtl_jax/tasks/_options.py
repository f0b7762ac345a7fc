"""Reads a task's options out of its config."""

import difflib
from collections.abc import Mapping
from typing import Any


def read(name: str, config: Any, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The options of task `name`: `defaults`, with what `config` sets to anything but None.

    Args:
      name: of the task.
      config: `config.tasks.<name>`.
      defaults: every option that the task type has, besides `type` and `key`.

    Raises:
      ValueError: `config` has an option that the task type lacks.
    """
    given = {option: value for option, value in config.items() if option not in ("type", "key")}
    for option in given:
        if option not in defaults:
            near = difflib.get_close_matches(option, defaults, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"config.tasks.{name}.{option}: a task of this type has no such option.{hint} "
                f"Available: {', '.join(['type', 'key', *defaults])}."
            )
    return dict(defaults) | {k: v for k, v in given.items() if v is not None}


def choice(name: str, option: str, value: str, available: Mapping[str, Any]) -> Any:
    """`available[value]`, or a ValueError that says what is available."""
    if value not in available:
        raise ValueError(
            f"config.tasks.{name}.{option}={value!r}; expected one of {', '.join(available)}."
        )
    return available[value]


def expect_kind(name: str, key: str, spec: Mapping[str, Any] | None, kinds: tuple[str, ...]):
    """Raises ValueError if the data set's `key` holds something else than one of `kinds`."""
    if spec is not None and spec["kind"] not in kinds:
        raise ValueError(
            f"config.tasks.{name}: its type needs labels of kind {' or '.join(kinds)}, but the "
            f"data set's {key!r} is of kind {spec['kind']!r}. Set config.tasks.{name}.key to "
            "another key, or type to another task type."
        )


def expect_shape(name: str, what: str, found: tuple[int, ...], expected: tuple[int, ...]):
    """Raises ValueError if the shapes, which are static, differ."""
    if tuple(found) != tuple(expected):
        raise ValueError(f"Task {name!r}: expected {what} of shape {expected}, found {found}.")
