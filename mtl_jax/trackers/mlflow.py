"""MLflow: `MLFLOW_TRACKING_URI` and `MLFLOW_EXPERIMENT_NAME` are its own."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax.trackers._tracker import Tracker

PACKAGE = "mlflow"
_EXPERIMENT = "mtl_jax"
_LONGEST = 500  # characters of a parameter's value, in older servers
_AT_ONCE = 100  # parameters


def open(name: str, hparams: Mapping[str, Any], directory: Path, known: str) -> Tracker:
    """The run `name`, which goes on if its id is `known`; see `trackers`."""
    import mlflow
    from mlflow import entities

    client = mlflow.MlflowClient()
    if known:
        client.update_run(known, status="RUNNING")
        return _Run(client, known, entities.Metric)
    called = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
    experiment = client.get_experiment_by_name(called)
    number = experiment.experiment_id if experiment else client.create_experiment(called)
    tags = {"mtl_jax.workdir": str(directory)}
    run = client.create_run(number, run_name=name, tags=tags).info.run_id
    params = [entities.Param(key, str(value)[:_LONGEST]) for key, value in hparams.items()]
    for first in range(0, len(params), _AT_ONCE):
        client.log_batch(run, params=params[first : first + _AT_ONCE])
    return _Run(client, run, entities.Metric)


class _Run(Tracker):
    def __init__(self, client: Any, run: str, metric: Any):
        self._client, self.id, self._metric = client, run, metric

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        metrics = [self._metric(name, float(v), now, step) for name, v in scalars.items()]
        self._client.log_batch(self.id, metrics=metrics)

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        for name, value in images.items():
            self._client.log_image(self.id, np.asarray(value)[0], f"{name}/step_{step:06d}.png")

    def close(self) -> None:
        self._client.set_terminated(self.id)
