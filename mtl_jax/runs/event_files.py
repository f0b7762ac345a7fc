"""TensorBoard's event files, by TensorFlow or, where a run does without it, by tensorboardX."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtl_jax.runs.step_log import Writer


def writer(directory: Path) -> Any:
    """A `step_log.Writer` that also has `write_hparams`; only the first process's writes.

    Where TensorFlow has been loaded it is clu's, which needs it; otherwise tensorboardX's.
    """
    if sys.modules.get("tensorflow") is None:
        return WithoutTensorFlow(directory if jax.process_index() == 0 else None)
    from clu import metric_writers  # which imports TensorFlow

    writers = []
    if jax.process_index() == 0:
        writers.append(metric_writers.SummaryWriter(str(directory)))
    return metric_writers.AsyncMultiWriter(writers)


class WithoutTensorFlow(Writer):
    """Writes by tensorboardX, from a thread of its own."""

    def __init__(self, directory: Path | None):
        """Opens a file in the directory; None writes nothing."""
        import tensorboardX

        self._writer = None
        if directory is not None:
            self._writer = tensorboardX.SummaryWriter(str(directory))

    def write_hparams(self, values: Mapping[str, Any]) -> None:
        """The config, for TensorBoard's table of runs."""
        if self._writer is None:
            return
        from tensorboardX.summary import hparams

        for summary in hparams(dict(values), {}):
            self._writer.file_writer.add_summary(summary)

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """{name: number}."""
        if self._writer is None:
            return
        for name, value in scalars.items():
            self._writer.add_scalar(name, float(value), step)

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """{name: uint8 [N, H, W, 3]}."""
        if self._writer is None:
            return
        for name, value in images.items():
            for number, picture in enumerate(np.asarray(value)):
                tag = f"{name}/{number}" if number else name
                self._writer.add_image(tag, picture, step, dataformats="HWC")

    def flush(self) -> None:
        """Waits until all is in the file."""
        if self._writer is not None:
            self._writer.flush()
