"""Streets of 256×512: several tasks at once, and each alone, with the same steps."""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu_parts import _runs
from mtl_jax.commands import train

_STEPS = 20_000
_RUNS = {
    "multi-task": "branched:streets_scratch",
    "semseg alone": "single_task:streets_semseg",
    "depth alone": "single_task:streets_depth",
}


def rows(flags: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each run. A first short one tells how many steps there is time for."""
    started = time.monotonic()
    steps = 4 if flags.tiny else 300
    _train(flags, "branched:streets_scratch", steps, "trial")
    again = time.monotonic()
    if not flags.tiny:
        _train(flags, "branched:streets_scratch", 2 * steps, "trial_2")
        each = (time.monotonic() - again) / (2 * steps)
        left = flags.seconds - (time.monotonic() - started)
        steps = max(steps, min(_STEPS, int(0.85 * left / (len(_RUNS) * each))))
    for name, config in _RUNS.items():
        start = time.monotonic()
        found = _train(flags, config, steps, name.replace(" ", "_"))
        metrics = found["best"]["metrics"]
        yield {
            "run": name,
            "steps": steps,
            "semseg/miou": metrics.get("semseg/miou"),
            "depth/rel": metrics.get("depth/rel"),
            "images/s": found["images_per_second"],
            "seconds": time.monotonic() - start,
        }


def _train(flags: argparse.Namespace, config: str, steps: int, name: str) -> dict[str, Any]:
    chosen = _runs.config(flags, config, train__max_steps=steps, train__eval_every_epochs=1_000_000)
    return train.run(chosen, Path(flags.work) / f"study_{name}_{steps}")
