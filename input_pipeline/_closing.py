"""Iterators that end before the program does."""

import atexit
import contextlib
import weakref
from collections.abc import Generator

_open: weakref.WeakSet[Generator] = weakref.WeakSet()


def at_exit(generator: Generator) -> Generator:
    """The generator, closed when the program ends if it is still open: its threads call Python.

    One that calls it when it is gone waits for ever, and the end of the program for it.
    """
    _open.add(generator)
    return generator


@atexit.register
def _close_all() -> None:
    for generator in tuple(_open):
        with contextlib.suppress(ValueError):  # a thread of somebody's is in it
            generator.close()
