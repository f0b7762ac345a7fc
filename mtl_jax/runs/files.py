"""JSON on disk: whole or not there, and a damaged file is one message that names it."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mtl_jax import _files
from mtl_jax.errors import UsageError

DAMAGED = ".damaged"  # lines that could not be read are kept in <file>.damaged


class WorkdirError(UsageError):
    """The work directory cannot be used; the message says why and what to do."""


def read_json(
    path: Path, check: Callable[[Any], str] = lambda found: "", *, kind: type = dict
) -> Any:
    """The object, or array, that a JSON file holds.

    Args:
      path: of the file.
      check: says what is wrong with it, in words that follow 'cannot be read:'; '' if nothing is.
      kind: dict or list, what it has to hold.

    Raises:
      FileNotFoundError: there is none.
      WorkdirError: it cannot be read, or holds something else.
    """
    try:
        found = _parsed(_bytes(path), kind)
        problem = check(found)
        if problem:
            raise ValueError(problem)
        return found
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise WorkdirError(f"{path} cannot be read: {why}. Restore it from a copy.") from error


def read_lines(path: Path) -> tuple[list[dict[str, Any]], list[tuple[int, bytes]]]:
    """The objects of a file with one in each line, and what could not be read.

    Returns:
      ([object with a whole number `step`, ...], [(line's number from 1, its bytes), ...]). A line
      that was being written when its process was killed, the last one, without an end, is neither.

    Raises:
      WorkdirError: the file cannot be read at all.
    """
    try:
        *lines, torn = _bytes(path).split(b"\n") if path.exists() else [b""]
    except OSError as error:
        raise WorkdirError(f"{path} cannot be read: {error.strerror}.") from error
    found, damaged = [], []
    for number, line in enumerate([*lines, torn] if _is_entry(torn) else lines, 1):
        if _is_entry(line):
            found.append(json.loads(line))
        elif line.strip():
            damaged.append((number, line))
    return found, damaged


def _bytes(path: Path) -> bytes:
    """What a file holds. Raises OSError; also of a FIFO, which would be waited for."""
    if path.is_fifo():
        raise OSError(errno.EINVAL, "It is a FIFO")
    return path.read_bytes()


def set_damaged_lines_aside(path: Path, report: Callable[[str], None]) -> None:
    """Moves the lines that `read_lines` cannot read to <path>.damaged, and names them."""
    found, damaged = read_lines(path)
    if not damaged:
        return
    aside = path.with_name(path.name + DAMAGED)
    with aside.open("ab") as file:
        file.write(b"".join(line + b"\n" for _, line in damaged))
    write_lines(path, found)
    numbers = ", ".join(str(number) for number, _ in damaged)
    report(f"{path} is damaged in line {numbers}: kept in {aside}; the other lines are used.")


def _is_entry(line: bytes) -> bool:
    try:
        entry = _parsed(line)
    except ValueError:
        return False
    step, metrics = entry.get("step"), entry.get("metrics", {})
    return type(step) is int and step >= 0 and not no_metrics(metrics)


def no_metrics(found: Any) -> str:
    """What keeps a JSON value from being {metric: number or null}; '' if nothing does."""
    if not isinstance(found, dict):
        return f"expected metrics, found {_NAMES[type(found)]}"
    bad = [name for name, value in found.items() if not is_number(value) and value is not None]
    return f"the metric {bad[0]!r} is {_NAMES[type(found[bad[0]])]}" if bad else ""


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number; true is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parsed(contents: bytes, kind: type = dict) -> Any:
    """The object or array; ValueError, in words that follow 'cannot be read:', if it is none."""
    try:
        value = json.loads(contents.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no UTF-8 text (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not valid JSON: {error}") from error
    except (ValueError, RecursionError) as error:  # numbers or nesting without end
        raise ValueError(f"it is no JSON of ours: {error}") from error
    if not isinstance(value, kind):
        raise ValueError(f"expected {_NAMES[kind]}, found {_NAMES[type(value)]}")
    return value


_NAMES = {
    **{dict: "an object", list: "an array", str: "text", int: "a number", float: "a number"},
    **{bool: "true or false", type(None): "null"},
}


def write_lines(path: Path, entries: list[dict[str, Any]]) -> None:
    """Replaces a file with one object in each line."""
    write_text(path, "".join(line(entry) for entry in entries))


def line(entry: Mapping[str, Any]) -> str:
    """One object as a line."""
    return json.dumps(without_nan(entry)) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON under a temporary name, then renames it. NaN and ∞ become null."""
    write_text(path, json.dumps(without_nan(value), indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes under a temporary name, then renames: the file is whole or the old one."""
    _files.write(path, text.encode())


@contextlib.contextmanager
def new_folder(path: str | os.PathLike) -> Iterator[Path]:
    """A folder to write into, which is at `path` when all is done, and nowhere if that fails.

    Raises:
      UsageError: something is at `path` already, or nothing can be written there.
    """
    target = Path(path).absolute()
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UsageError(
                f"--output={path} exists already, and is not an empty folder. Choose another name, "
                "or delete it."
            )
        temporary.mkdir(parents=True)
    except OSError as error:
        raise UsageError(
            f"--output={path} cannot be written ({error.strerror}). "
            "Choose a folder that you may write to."
        ) from error
    try:
        yield temporary
        temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def or_nan(value: float | None) -> float:
    """JSON has no NaN: it is written as null and read as None."""
    return float("nan") if value is None else value


def to_json(config: ConfigDict) -> dict[str, Any]:
    """The config as plain JSON values; tuples become lists."""
    return json.loads(json.dumps(config.to_dict()))


def as_json(value: Any) -> Any:
    """What `write_json` writes and `read_json` reads again."""
    return json.loads(json.dumps(without_nan(value)))


def from_json(value: Any) -> Any:
    """Undoes `to_json`, but for the ConfigDict around it: lists become tuples."""
    if isinstance(value, dict):
        return {key: from_json(item) for key, item in value.items()}
    return tuple(from_json(item) for item in value) if isinstance(value, list) else value


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'a': {'b': 1}} ─► {'a.b': 1}."""
    flat = {}
    for key, item in value.items():
        flat |= flatten(item, f"{prefix}{key}.") if isinstance(item, dict) else {prefix + key: item}
    return flat


def without_nan(value: Any) -> Any:
    """JSON values in which NaN and ∞ are None."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    if isinstance(value, float) and not (-float("inf") < value < float("inf")):
        return None
    return value
