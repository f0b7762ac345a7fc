"""One process at a time: locks of files that end with the process, also by a kill.

Some network file systems have no locks; on these nobody is kept out.
"""

import contextlib
import errno
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


@contextlib.contextmanager
def held(path: Path) -> Iterator[TextIO | None]:
    """Locks a file, which is made if need be, while this lasts; None if another process has it.

    A child that is given the file keeps the lock even if this process ends.
    """
    with path.open("w") as file:
        yield file if _take(file, fcntl.LOCK_EX) else None


def is_held(path: Path) -> bool:
    """Whether a process holds the file now."""
    try:
        with path.open() as file:
            return not _take(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _take(file: TextIO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True
