"""What balancing methods cost beside fixed weights, at the loss and at the representation."""

import argparse
import time
from collections.abc import Iterator
from typing import Any

from benchmarks import weightings_cost
from mtl_jax.commands import config as configuration

_METHODS = ("fixed", "uncertainty", "dwa", "pcgrad", "mgda", "cagrad", "nash_mtl", "famo")


def rows(flags: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each method, on the branched ResNet-34 with three tasks."""
    deadline = time.monotonic() + flags.seconds
    name = "branched:streets_scratch" if flags.tiny else "branched:miniscapes"
    size, batch, steps = ((32, 64), 2, 2) if flags.tiny else ((256, 512), 16, 20)
    config = configuration.load(
        name, ["--config.model.pretrained=", "--config.model.dtype=bfloat16"]
    )
    fixed = None
    for method in ("fixed", "pcgrad") if flags.tiny else weightings_cost.methods(list(_METHODS)):
        if time.monotonic() > deadline:
            yield {"weighting": method, "problem": "no time left"}
            continue
        found = weightings_cost.measure(
            weightings_cost.variant(config, method, 3), batch, size, steps
        )
        fixed = fixed or found
        yield {"weighting": method, "× fixed": found["step ms"] / fixed["step ms"]} | found
