"""`--config.<key>=<value>`: sets keys of a config from text, typed by what is there.

Most sections have the keys that they have. In `OPEN` ones the keys are names that the user gives,
of tasks, labels or data sets; whoever reads such a section checks what is in it.
"""

import ast
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from mtl_jax.errors import ConfigError, nearest

PREFIX = "--config."
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
OPEN = (
    *("tasks", "data.mixture", "data.edges", "optimizer.images_per_update", "weighting.weights"),
    *("model.single_task", "model.pretrained_heads", "model.decoder.ranges"),
)


def apply(config: ConfigDict, overrides: Sequence[str]) -> None:
    """Sets keys of `config` in place; the last of several settings of a key counts.

    Args:
      config: of a run, complete.
      overrides: `--config.<dotted key>=<value>` each.

    Raises:
      ConfigError: a key that the config lacks, with the nearest one, or a value of another type.
    """
    for override in overrides:
        key, sign, text = override.removeprefix(PREFIX).partition("=")
        if not sign:
            raise ConfigError(f"{override}: expected {PREFIX}<key>=<value>.")
        owner, last = _owner(config, key)
        value = _parsed(text, owner.get(last), last in owner, key)
        with owner.ignore_type(), owner.unlocked():
            owner[last] = value


def keys(config: ConfigDict, prefix: str = "") -> list[str]:
    """All dotted keys of a config, sections included."""
    found = []
    for name, value in config.items():
        found.append(prefix + name)
        if isinstance(value, ConfigDict):
            found += keys(value, f"{prefix}{name}.")
    return found


def _owner(config: ConfigDict, key: str) -> tuple[ConfigDict, str]:
    """(the section that has `key`, made if it may be; the last part of `key`)."""
    *sections, last = key.split(".")
    owner, path = config, []
    for section in sections:
        if section not in owner:
            _check_may_grow(config, owner, path, section)
            with owner.unlocked():
                owner[section] = ConfigDict()
        owner = owner[section]
        path.append(section)
        if not isinstance(owner, ConfigDict):
            raise ConfigError(
                f"{PREFIX}{key}: {'.'.join(path)}={owner!r} is a value, which has no {last!r}."
            )
    if last not in owner:
        _check_may_grow(config, owner, path, last)
    return owner, last


def _check_may_grow(config: ConfigDict, owner: ConfigDict, path: list[str], name: str) -> None:
    """Raises ConfigError if `owner`, which is config.<path>, takes no key called `name`."""
    if f"{'.'.join([*path, name])}.".startswith(tuple(f"{section}." for section in OPEN)):
        return
    where = ".".join(["config", *path])
    may_be = [section.rpartition(".")[2] for section in OPEN if _parent(section) == ".".join(path)]
    # The same name in another section, a similar one here, a similar one there, or all there is.
    everywhere = {key.rpartition(".")[2]: key for key in keys(config)}
    here = nearest(name, [*owner, *may_be])
    there = nearest(name, everywhere, cutoff=0.8)
    if name in everywhere or (there and not here):
        hint = f"Did you mean {everywhere[there]!r}?"
    elif here:
        hint = f"Did you mean {'.'.join([*path, here])!r}?"
    else:
        hint = f"{where} has {', '.join(owner)}."
    raise ConfigError(f"{PREFIX}{'.'.join([*path, name])}: {where} has no key {name!r}. {hint}")


def _parent(key: str) -> str:
    return key.rpartition(".")[0]


def _parsed(text: str, before: Any, known: bool, key: str) -> Any:
    """The value that `text` stands for where the value so far is `before`."""
    if not known or before is None:
        return _literal(text)
    if isinstance(before, str):
        return text
    if isinstance(before, bool):
        if text.lower() not in _BOOLEANS:
            raise _wrong(key, text, "True or False")
        return _BOOLEANS[text.lower()]
    if isinstance(before, int | float):
        kind = type(before)
        try:
            return kind(text)
        except ValueError:
            raise _wrong(key, text, f"a{'n integer' if kind is int else ' number'}") from None
    if isinstance(before, ConfigDict):
        value = _literal(text)
        if not isinstance(value, ConfigDict):
            inner = ", ".join(f"{key}.{name}" for name in before) or f"{key}.<name>"
            raise ConfigError(
                f"{PREFIX}{key}={text}: {key!r} is a section. Set its keys ({inner}), or give all "
                "of them as a dict."
            )
        return value
    return _sequence(text, key)


def _sequence(text: str, key: str) -> tuple:
    """'(0.5, 2)', '0.5,2', '0.5' and 'encoder,depth' ─► a tuple."""
    value = _literal(text if text.startswith(("(", "[")) else f"({text},)" if text else "()")
    if isinstance(value, str):  # no literals: names
        if text.startswith(("(", "[")):
            raise _wrong(key, text, "values with commas between")
        return tuple(part.strip() for part in text.split(","))
    return value


def _literal(text: str) -> Any:
    """A Python literal, with tuples for lists and ConfigDicts for dicts; else the text itself."""
    try:
        return _frozen(ast.literal_eval(text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return _BOOLEANS.get(text.lower(), text)


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return ConfigDict({str(name): _frozen(item) for name, item in value.items()})
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def _wrong(key: str, text: str, expected: str) -> ConfigError:
    return ConfigError(f"{PREFIX}{key}={text}: expected {expected}.")
