"""Weights & Biases (wandb.ai): `WANDB_PROJECT`, `WANDB_MODE=offline` and so on are its own."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax.trackers._tracker import Tracker

PACKAGE = "wandb"
_PROJECT = "mtl_jax"


def open(name: str, hparams: Mapping[str, Any], directory: Path, known: str) -> Tracker:
    """The run `name`, which goes on if its id is `known`; see `trackers`."""
    import wandb

    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", _PROJECT),
        name=name,
        id=known or None,  # it makes one
        resume="allow",
        dir=str(directory),
        config=dict(hparams),
        reinit="create_new",
    )
    # A run that goes on after a kill makes some steps again, which `log(step=...)` would refuse.
    run.define_metric("step")
    run.define_metric("*", step_metric="step")
    return _Run(run, wandb.Image)


class _Run(Tracker):
    def __init__(self, run: Any, image: Any):
        self._run, self._image, self.id = run, image, run.id

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        self._run.log({"step": step, **{name: float(value) for name, value in scalars.items()}})

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        drawn = {name: self._image(np.asarray(value)[0]) for name, value in images.items()}
        self._run.log({"step": step, **drawn})

    def close(self) -> None:
        self._run.finish()
