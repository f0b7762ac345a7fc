"""Rows of a table, one for each case: what becomes of one does not keep the others from theirs."""

import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

# Shares of a part's time: until when rows are begun, and other processes' waited for.
_BEGUN, _AWAITED = 0.85, 0.97


class Case(NamedTuple):
    """A row to be measured.

    Attributes:
      label: its first columns, by which it is known.
      measure: makes its other columns; it can be sent to another process if the part has a `POOL`.
    """

    label: dict[str, Any]
    measure: Callable[[], dict[str, Any]]


def rows(
    cases: Sequence[Case], pool: Mapping[str, int] | None, seconds: float
) -> Iterator[dict[str, Any]]:
    """Yields the rows that are ready in time; a case that fails is one that says so.

    Args:
      cases: to begin in this order.
      pool: arguments of `multiprocessing.Pool`; None measures the cases here.
      seconds: that there are.
    """
    now = time.monotonic()
    tasks = [(case, now + _BEGUN * seconds) for case in cases]
    if pool is None:
        yield from (row for row in map(_row, tasks) if row)
        return
    with multiprocessing.get_context("spawn").Pool(**pool) as processes:
        found = processes.imap_unordered(_row, tasks)
        try:
            for _ in tasks:
                if row := found.next(max(0.0, now + _AWAITED * seconds - time.monotonic())):
                    yield row
        except multiprocessing.TimeoutError:
            return


def missing(labels: Iterable[dict[str, Any]], found: Sequence[dict[str, Any]]) -> list[dict]:
    """The labels of which there is no row."""
    return [label for label in labels if not any(label.items() <= row.items() for row in found)]


def short(error: Exception) -> str:
    """Its kind and its first line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:150]}"


def _row(task: tuple[Case, float]) -> dict[str, Any] | None:
    case, deadline = task
    if time.monotonic() > deadline:
        return None
    try:
        return case.label | case.measure()
    except Exception as error:
        traceback.print_exc()
        return case.label | {"problem": short(error)}
