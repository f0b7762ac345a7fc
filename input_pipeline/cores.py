"""How many processor cores this process may use."""

import os

_most: int | None = None


def available() -> int:
    """Cores that the system lets this process run on, or `use_at_most` said; at least 1."""
    if hasattr(os, "sched_getaffinity"):  # fewer than the machine has in a container or a job
        found = len(os.sched_getaffinity(0))
    else:
        found = os.cpu_count() or 1
    return min(found, _most or found)


def use_at_most(count: int) -> None:
    """From now on `available` is at most that, in this process, which has others beside it."""
    global _most
    _most = count
