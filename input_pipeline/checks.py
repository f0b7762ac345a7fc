"""What is looked at in a release before any file of it is opened: is it all there?"""

import os
from collections.abc import Iterable, Mapping, Sized

from input_pipeline.errors import DatasetError

_LISTED = 10  # of each kind of problem


class Problems:
    """Everything that is wrong with a release, so that one message can name it all.

    >>> problems = Problems("/data/release")
    >>> problems.add("has no camera file", "train/aachen_000000_000019")
    >>> problems.raise_if_any()
    Traceback (most recent call last):
    ...
    input_pipeline.errors.DatasetError: /data/release:
      has no camera file: train/aachen_000000_000019
    """

    def __init__(self, where: str | os.PathLike):
        self._where = where
        self._found: dict[str, list[str]] = {}

    def add(self, kind: str, *names: str) -> None:
        """Notes that something of `kind` is wrong with each of `names`."""
        self._found.setdefault(kind, []).extend(names)

    def __bool__(self) -> bool:
        return any(self._found.values())

    def raise_if_any(self, advice: str = "") -> None:
        """Raises `DatasetError` with the first ten of each kind, and `advice` at the end."""
        if not self:
            return
        lines = [f"{self._where}:"]
        for kind, names in self._found.items():
            if names:
                many = f" ({len(names)} of them)" if len(names) > 1 else ""
                lines.append(f"  {kind}{many}: {first(names)}")
        raise DatasetError("\n".join(lines + [advice] if advice else lines))


def first(names: Iterable[str]) -> str:
    """The first ten, with commas between."""
    names = list(names)
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")


def partners(
    problems: Problems, split: str, found: Mapping[str, Mapping[str, object]]
) -> list[str]:
    """The examples that have a file for every key; the others are problems.

    Args:
      problems: what is missing is added to it.
      split: for the message.
      found: {key: {example: file}}.

    Returns:
      The names of the complete examples, sorted.
    """
    everything = sorted(set().union(*found.values()))
    for key, files in found.items():
        missing = [name for name in everything if name not in files]
        problems.add(f"split {split!r}: without {key!r}", *missing)
    return [name for name in everything if all(name in files for files in found.values())]


def counts(
    problems: Problems, found: Mapping[str, Sized], official: Mapping[str, int], *, partial: bool
) -> None:
    """Compares the numbers of examples with those of the release.

    Args:
      problems: what differs is added to it.
      found: the examples by split.
      official: the numbers of the complete release.
      partial: fewer examples, but at least one in each split, are all right.
    """
    for split, expected in official.items():
        number = len(found.get(split, ()))
        if number == expected or (partial and 0 < number < expected):
            continue
        advice = "" if number >= expected or partial else " (--partial accepts fewer)"
        problems.add(f"split {split!r}", f"expected {expected} examples, found {number}{advice}")
