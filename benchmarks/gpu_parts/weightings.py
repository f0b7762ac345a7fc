"""What balancing methods cost beside fixed weights, at the loss and at the representation."""

import argparse
import functools
from collections.abc import Callable

from benchmarks import weightings_cost
from benchmarks.gpu_parts import _runs
from benchmarks.gpu_parts._cases import Case

PROCESSES = None  # as each is measured beside the same step with fixed weights
_METHODS = ("pcgrad", "uncertainty", "nash_mtl", "famo", "mgda", "cagrad", "dwa")
_Step = weightings_cost.Step


def cases(flags: argparse.Namespace) -> list[Case]:
    """One for each method, on the branched ResNet-34 with three tasks."""
    fixed = functools.cache(functools.partial(_step, flags, "fixed"))
    return [
        Case({"weighting": name}, functools.partial(_measure, flags, fixed, name))
        for name in (_METHODS[:1] if flags.tiny else _METHODS)
    ]


def _step(flags: argparse.Namespace, method: str) -> _Step:
    config = weightings_cost.variant("resnet34", method, 3)
    if flags.tiny:
        narrow = {key.replace("__", "."): value for key, value in _runs.NARROW.items()}
        config.update_from_flattened_dict(narrow | {"model.encoder.depth": 18})
    config.model.dtype = "bfloat16"
    size, batch = ((32, 64), 2) if flags.tiny else ((256, 512), 16)
    return _Step(config, batch, size)


def _measure(
    flags: argparse.Namespace, fixed: Callable[[], _Step], name: str
) -> dict[str, float | None]:
    found = weightings_cost.measure(fixed(), _step(flags, name), 2 if flags.tiny else 20)
    # The largest use is one of all methods until now.
    return {key: value for key, value in found.items() if key != "peak GiB"}
