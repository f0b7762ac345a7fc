"""What balancing methods cost beside fixed weights, at the loss and at the representation."""

import argparse
import time
from collections.abc import Iterator
from typing import Any

from benchmarks import weightings_cost

_METHODS = ("uncertainty", "dwa", "pcgrad", "mgda", "cagrad", "nash_mtl", "famo")


def rows(flags: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each method, on the branched ResNet-34 with three tasks."""
    deadline = time.monotonic() + flags.seconds
    network = "default" if flags.tiny else "resnet34"
    size, batch, steps = ((32, 64), 2, 2) if flags.tiny else ((256, 512), 16, 20)

    def step(method: str) -> weightings_cost.Step:
        config = weightings_cost.variant(network, method, 3)
        with config.unlocked():
            config.model.dtype = "bfloat16"
        return weightings_cost.Step(config, batch, size)

    fixed = step("fixed")
    for method in ("pcgrad",) if flags.tiny else _METHODS:
        if time.monotonic() > deadline:
            yield {"weighting": method, "problem": "no time left"}
            continue
        yield {"weighting": method} | weightings_cost.measure(fixed, step(method), steps)
