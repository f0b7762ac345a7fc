"""How many processor cores this process may use."""

import os


def available() -> int:
    """Cores that the system lets this process run on; at least 1."""
    if hasattr(os, "sched_getaffinity"):  # fewer than the machine has in a container or a job
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
