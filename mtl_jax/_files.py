"""Files that are whole or not there, whatever ends the program while they are written."""

import contextlib
import errno
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)  # no room on the disk, or for this user
_NUMBERS = itertools.count()  # of the files that this process has written


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Where to write instead of `path`: what is there afterwards takes its place, in one step.

    If the statement ends with an exception, `path` is as it was.

    Args:
      path: of the file; there may be one.
      durable: wait until it is on the disk, so that a crash of the machine leaves the one or the
        other too. Without, many small files are written faster.
    """
    # Short and hidden: the name of a file may be as long as there can be.
    temporary = path.with_name(f".{os.getpid()}_{next(_NUMBERS)}.tmp")
    try:
        yield temporary
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write(path: Path, contents: bytes, *, durable: bool = True) -> Path:
    """Writes a file by way of `replacing`."""
    with replacing(path, durable=durable) as temporary:
        temporary.write_bytes(contents)
    return path


def is_full(error: Exception) -> bool:
    """Whether it says that there is no room on the disk; other libraries have errors of their own.

    Orbax has a ValueError, TensorFlow one of its own, the writer of records a RuntimeError.
    """
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(os.strerror(number) in str(error) for number in _FULL)


def make_folder(path: Path) -> None:
    """Makes a folder, if need be, and tries it. Raises OSError if nothing can be written there."""
    path.mkdir(parents=True, exist_ok=True)
    probe = path / f".writable_{os.getpid()}"
    probe.touch()
    probe.unlink()
