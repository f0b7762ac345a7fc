"""The most memory that this process had at once, and how to begin anew; for either side."""

import ctypes
import resource
from pathlib import Path

_STATUS, _REFERENCES = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak() -> int:
    """Bytes, since the process began or `forget_peak`."""
    if not _STATUS.exists():  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def forget_peak() -> None:
    """What was used until now does not count, nor what glibc keeps of it; on Linux alone."""
    if _REFERENCES.exists():
        ctypes.CDLL(None).malloc_trim(0)
        _REFERENCES.write_text("5")
