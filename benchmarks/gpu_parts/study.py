"""Streets of 256×512: several tasks at once, and each alone, with the same steps."""

import argparse
import functools
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu_parts import _runs
from benchmarks.gpu_parts._cases import Case
from mtl_jax.commands import train

PROCESSES = None
_STEPS, _TRIAL_STEPS = 20_000, 300
_RUNS = {
    "multi-task": "branched:streets_scratch",
    "semseg alone": "single_task:streets_semseg",
    "depth alone": "single_task:streets_depth",
}


def cases(flags: argparse.Namespace) -> list[Case]:
    """One for each run. A first short one tells how many steps there is time for."""
    steps = functools.cache(functools.partial(_steps, flags, time.monotonic()))
    return [
        Case({"run": name}, functools.partial(_measure, flags, steps, name, config))
        for name, config in _RUNS.items()
    ]


def _steps(flags: argparse.Namespace, began: float) -> int:
    """As many as there is time for, at most `_STEPS`."""
    if flags.tiny:
        return 4
    start = time.monotonic()
    found = _train(flags, _RUNS["multi-task"], _TRIAL_STEPS, "trial")
    each = found["batch_size"] / found["images_per_second"]
    beside = time.monotonic() - start - _TRIAL_STEPS * each  # compilation and evaluation
    left = 0.85 * (flags.seconds - (time.monotonic() - began)) / len(_RUNS)
    return max(_TRIAL_STEPS, min(_STEPS, int((left - beside) / each)))


def _measure(
    flags: argparse.Namespace, steps: Callable[[], int], name: str, config: str
) -> dict[str, Any]:
    count, start = steps(), time.monotonic()
    found = _train(flags, config, count, name.replace(" ", "_"))
    metrics = found["best"]["metrics"]
    return {
        "steps": count,
        "semseg/miou": metrics.get("semseg/miou"),
        "depth/rel": metrics.get("depth/rel"),
        "images/s": found["images_per_second"],
        "seconds": time.monotonic() - start,
    }


def _train(flags: argparse.Namespace, config: str, steps: int, name: str) -> dict[str, Any]:
    """What the results of a new run say, and its batch size."""
    chosen = _runs.config(flags, config, train__max_steps=steps, train__eval_every_epochs=1_000_000)
    folder = Path(flags.work) / f"study_{name}"
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier call, whose time says nothing
    return train.run(chosen, folder) | {"batch_size": chosen.train.batch_size}
