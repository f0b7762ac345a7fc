"""Streets, drawn for the parts that train; by the processor alone."""

import argparse
import functools
import time
from typing import Any

from benchmarks.gpu_parts import _runs
from benchmarks.gpu_parts._cases import Case

PROCESSES = None


def cases(flags: argparse.Namespace) -> list[Case]:
    """One."""
    return [Case({"data": _runs.name(flags)}, functools.partial(_draw, flags))]


def _draw(flags: argparse.Namespace) -> dict[str, Any]:
    start = time.monotonic()
    examples = sum(_runs.data(flags).splits.values())
    return {"examples": examples, "seconds": time.monotonic() - start}
