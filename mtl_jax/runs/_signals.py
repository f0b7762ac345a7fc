"""SIGTERM and Ctrl-C, taken over for a while."""

import abc
import contextlib
import signal
from typing import Any


class Handler(contextlib.AbstractContextManager):
    """Within it, the two signals call `handle`.

    Attributes:
      signum: the last one that came, or None.
    """

    def __init__(self):
        """Installs nothing yet; `with` does."""
        self.signum: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self):
        """Takes over the two signals."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            self._previous[signum] = signal.signal(signum, self._received)
        return self

    def __exit__(self, *_):
        """Gives them back."""
        for signum in self._previous:
            self.give_back(signum)

    def give_back(self, signum: int) -> None:
        """Whoever had the signal before has it again."""
        signal.signal(signum, self._previous[signum])

    @abc.abstractmethod
    def handle(self) -> None:
        """What to do about `signum`, which has just come."""

    def _received(self, signum: int, frame: Any) -> None:
        del frame
        self.signum = signum
        self.handle()
