"""Streams of a few numbers for workers to open, each with something that may happen to one."""

import os
import resource
import time

import numpy as np

from input_pipeline import cores
from input_pipeline.errors import DatasetError, OptionError

ERRORS = {
    "data": DatasetError("record 3 does not decode"),
    "option": OptionError("config.data.x=3; expected 4."),
    "defect": ZeroDivisionError("3 by 0"),
}


class Toy:
    """Batch k is a function of k, and of `kind` what happens at step 3."""

    steps_per_epoch = 5

    def __init__(self, kind: str = ""):
        self._kind = kind

    def batches(self, start_step=0, every=1):
        for step in range(start_step, 10**9, every):
            if self._kind == "prints":
                print("this is no answer")
                os.write(1, b"nor is this\n")
            if self._kind == "loads JAX":
                import jax  # noqa: F401
            if self._kind == "may write little" and step == 3:
                resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
            if self._kind == "sleeps" and step >= 2:
                time.sleep(60)
            if step == 3 and self._kind in ERRORS:
                raise ERRORS[self._kind]
            yield batch(step)


def batch(step: int) -> dict[str, np.ndarray]:
    """Of a size that rises and falls, and may be 0; one array is not contiguous."""
    rng, side = np.random.default_rng(step), 40 * (step % 4)
    return {
        "image": rng.integers(0, 256, (2, side, side, 3)).astype(np.uint8),
        "depth": rng.normal(size=(2, side, 7)).astype(np.float32).transpose(0, 2, 1),
        "step": np.array([step, -step]),
    }


class Threads:
    """How many threads a worker may use."""

    def batches(self, start_step=0, every=1):
        pools = [os.environ[f"TF_NUM_{kind}_THREADS"] for kind in ("INTEROP", "INTRAOP")]
        while True:
            yield {"threads": np.array([cores.available(), *map(int, pools)])}
