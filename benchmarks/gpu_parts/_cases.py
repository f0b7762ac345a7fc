"""Rows of a table, one for each case: what becomes of one does not keep the others from theirs."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

# Shares of a part's time: until when rows are begun, and other processes' waited for.
_BEGUN, _AWAITED = 0.85, 0.97


class Case(NamedTuple):
    """A row to be measured.

    Attributes:
      label: its first columns, by which it is known.
      measure: makes its other columns; it can be sent to another process if the part has them.
    """

    label: dict[str, Any]
    measure: Callable[[], dict[str, Any]]


def rows(cases: Sequence[Case], processes: int | None, seconds: float) -> Iterator[dict[str, Any]]:
    """Yields the rows that are ready in time; a case that fails is one that says so.

    Args:
      cases: to begin in this order.
      processes: how many at once, each case in its own; None measures the cases here.
      seconds: that there are.
    """
    now = time.monotonic()
    left = _until(now + _BEGUN * seconds, cases)
    if processes is None:
        yield from map(_row, left)
        return
    running: list[_Running] = []
    try:
        while True:
            for case in itertools.islice(left, processes - len(running)):
                running.append(_Running(case))
            rest = max(0.0, now + _AWAITED * seconds - time.monotonic())
            ready = wait([end for one in running for end in one.ends], rest) if running else []
            if not ready:  # there is nothing to wait for, or no time
                return
            for one in [one for one in running if not set(one.ends).isdisjoint(ready)]:
                running.remove(one)
                yield one.row()
    finally:
        for one in running:
            one.end()


def missing(labels: Iterable[dict[str, Any]], found: Sequence[dict[str, Any]]) -> list[dict]:
    """The labels of which there is no row."""
    return [label for label in labels if not any(label.items() <= row.items() for row in found)]


def short(error: Exception) -> str:
    """Its kind and its first line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:150]}"


class _Running:
    """A case in a process of its own.

    `multiprocessing.Pool` waits for ever for what a process that died was to do, and
    `ProcessPoolExecutor` gives up all others with it; XLA aborts the process where it finds itself
    wrong.

    Attributes:
      ends: of which one can be read as soon as the case has its row, or its process has died. The
        pipe's end alone would not do, as what the process has started may have its other one.
    """

    def __init__(self, case: Case):
        """Begins it."""
        context = multiprocessing.get_context("spawn")
        self._label = case.label
        self._answer, answers = context.Pipe(duplex=False)
        self._process = context.Process(target=_answer, args=(case, answers), daemon=True)
        self._process.start()
        answers.close()
        self.ends = (self._answer, os.pidfd_open(self._process.pid))

    def row(self) -> dict[str, Any]:
        """Its row, once there is an answer."""
        try:
            if self._answer.poll():
                return self._answer.recv()
            raise EOFError
        except (EOFError, OSError):  # nothing of it, or not all
            self._process.join()
            return self._label | {"problem": f"its process ended with {self._status()}"}
        finally:
            self.end()

    def end(self) -> None:
        """Ends its process, and all that it has started, which would keep the device's memory."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()  # it may not have come to where it makes the group
        self._process.join()
        self._answer.close()
        os.close(self.ends[1])

    def _status(self) -> str:
        code = self._process.exitcode
        return signal.Signals(-code).name if code < 0 else f"status {code}"


def _answer(case: Case, answers: Connection) -> None:
    """Measures a case in its own process."""
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    row = _row(case)
    sys.stdout.flush()  # once the row is there the process is ended
    answers.send(row)


def _end_with_parent() -> None:
    """A part that is out of time is killed, and this process is not of its group."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # as it was spawned
    parent.join()
    os.killpg(0, signal.SIGKILL)


def _until(deadline: float, cases: Iterable[Case]) -> Iterator[Case]:
    for case in cases:
        if time.monotonic() > deadline:
            return
        yield case


def _row(case: Case) -> dict[str, Any]:
    try:
        return case.label | case.measure()
    except Exception as error:
        traceback.print_exc()
        return case.label | {"problem": short(error)}
