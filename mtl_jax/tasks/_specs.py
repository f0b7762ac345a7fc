"""What the task types share in checking label specs and shapes."""

from collections.abc import Mapping
from typing import Any

from mtl_jax.errors import ConfigError


def expect_kind(name: str, key: str, spec: Mapping[str, Any] | None, kinds: tuple[str, ...]):
    """Raises ConfigError if the data set's `key` holds something else than one of `kinds`."""
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
