"""Reads a small YAML file of somebody's, and refuses what is no description of a data set.

The file may come from anywhere: its size, depth and aliases are bounded, and a message never shows
more than a line of it.
"""

import math
import os
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from input_pipeline.errors import DatasetError, did_you_mean

_MOST_BYTES = 256 * 1024
_MOST_ALIASES = 100

_short = reprlib.Repr()
_short.maxlevel, _short.maxlist, _short.maxdict, _short.maxother = 3, 8, 8, 60


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML would take the last, and growing aliases."""

    def __init__(self, stream):
        super().__init__(stream)
        self._within_anchors = self._aliases = 0

    def compose_node(self, parent, index):
        is_alias = self.check_event(yaml.AliasEvent)
        event = self.peek_event()
        self._aliases += is_alias
        if is_alias and (self._within_anchors or self._aliases > _MOST_ALIASES):
            # A few of them, nested, would be a file of any size.
            raise yaml.YAMLError(
                f"more than {_MOST_ALIASES} aliases, or one inside another's anchor,"
                f"{event.start_mark}"
            )
        is_anchor = not is_alias and event.anchor is not None
        self._within_anchors += is_anchor
        node = super().compose_node(parent, index)
        self._within_anchors -= is_anchor
        return node

    def construct_mapping(self, node, deep=False):
        found = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.YAMLError(f"a key is no word or number,{key_node.start_mark}")
            key = self.construct_object(key_node, deep=True)
            if key in found:
                raise yaml.YAMLError(f"{key!r} is there twice, {key_node.start_mark}")
            found.add(key)
        return super().construct_mapping(node, deep)


def load(file: str) -> Any:
    """The contents of a YAML file.

    Raises:
      DatasetError: there is no such file, or it is a folder, no YAML, or too large.
    """
    if os.path.isdir(file):
        inside = sorted(name for name in os.listdir(file) if name.endswith((".yaml", ".yml")))
        names = ", ".join(f"'folder/{os.path.join(file, name)}'" for name in inside[:10])
        raise DatasetError(
            f"{file} is a folder; expected the YAML file that describes the data set, such as "
            f"{names or 'one that you write in it: docs/datasets.md says how'}."
        )
    if not os.path.isfile(file):
        raise DatasetError(
            f"{file}: there is no such file. The data set 'folder/PATH' is described by the YAML "
            "file PATH; docs/datasets.md says how, docs/examples has some."
        )
    try:
        if os.path.getsize(file) > _MOST_BYTES:
            raise DatasetError(
                f"{file}: expected a description of at most {_MOST_BYTES} bytes, found "
                f"{os.path.getsize(file)}."
            )
        with open(file, encoding="utf-8") as stream:
            return yaml.load(stream, _Loader)
    except OSError as error:
        raise DatasetError(f"{file} cannot be read ({error.strerror}).") from error
    except RecursionError as error:
        raise DatasetError(f"{file} is not a description: it is nested too deeply.") from error
    except DatasetError:
        raise
    # ValueError: a date or a number that Python does not have, or bytes that are no UTF-8.
    except (yaml.YAMLError, ValueError) as error:
        raise DatasetError(f"{file} is not YAML: {error}") from error


class Section:
    """A mapping of the YAML, whose every access is checked and whose errors say where."""

    def __init__(self, file: str, where: str, values: Any, known: tuple[str, ...]):
        """Takes `values` from the place `where`, such as 'keys.depth.'.

        Raises:
          DatasetError: it is no mapping, or has a name that is not `known`.
        """
        self._file, self._where = file, where
        if not isinstance(values, Mapping):
            raise self.error("", f"a mapping of {', '.join(known[:4])}, ...", values)
        self._values = values
        for name in values:
            if name not in known:
                hint = did_you_mean(str(name)[:100], known)
                raise DatasetError(
                    f"{file}: {where}{str(name)[:100]} is not known.{hint} Known: "
                    f"{', '.join(known)}."
                )

    def error(self, name: str, expected: str, found: Any) -> DatasetError:
        """The error that `name` is something else than what was expected."""
        place = f"{self._where}{name}".rstrip(".")
        return DatasetError(f"{self._file}: {place}: expected {expected}, found {shown(found)}.")

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(
        self, name: str, expected: str, check: Callable[[Any], bool], default: Any = None
    ) -> Any:
        """The value if `check` holds, else an error; the default if there is none."""
        if name not in self._values:
            return default
        value = self._values[name]
        if not check(value):
            raise self.error(name, expected, value)
        return value


def shown(value: Any) -> str:
    """The value on a line, cut to a length for messages."""
    text = _short.repr(value)
    return text if len(text) <= 200 else text[:200] + "..."


def is_flag(value: Any) -> bool:
    """True or false."""
    return isinstance(value, bool)


def is_text(value: Any) -> bool:
    """Text that is not empty."""
    return isinstance(value, str) and bool(value)


def is_whole(value: Any) -> bool:
    """A whole number that fits into 32 bits; true is none."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**31


def is_number(value: Any) -> bool:
    """A finite number that float64 has."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e300 if isinstance(value, int) else math.isfinite(value)


def is_positive(value: Any) -> bool:
    """A number over 0."""
    return is_number(value) and value > 0


def is_list(value: Any, of: Callable[[Any], bool], length: int | None = None) -> bool:
    """A list of such values, of any length or of this one."""
    return isinstance(value, list) and length in (None, len(value)) and all(map(of, value))
