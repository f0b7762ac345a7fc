"""TensorBoard's event files, by clu or, where a run does without TensorFlow, by tensorboardX."""

import contextlib
import sys
import time
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtl_jax.runs.step_log import Writer


def writer(directory: Path) -> Any:
    """A `step_log.Writer` that also has `write_hparams`; only the first process's writes anything.

    Where TensorFlow has been loaded it is clu's, which needs it; otherwise `EventFile`.
    """
    first = jax.process_index() == 0
    if sys.modules.get("tensorflow") is None:
        return EventFile(directory if first else None)
    with _without_keras():
        from clu import metric_writers  # which imports TensorFlow

    writers = [metric_writers.SummaryWriter(str(directory))] if first else []
    return metric_writers.AsyncMultiWriter(writers)


@contextlib.contextmanager
def _without_keras() -> Iterator[None]:
    """Meanwhile TensorBoard's table of runs has no callback for Keras, which would import Keras.

    That takes most of what clu's import takes. Whoever asks for that table later gets all of it.
    """
    package, table, callback = "tensorboard.plugins.hparams", "api", "_keras"
    if f"{package}.{table}" in sys.modules:
        yield
        return
    stand_in: Any = types.ModuleType(f"{package}.{callback}")
    stand_in.Callback = None
    sys.modules[stand_in.__name__] = stand_in
    try:
        yield
    finally:
        for name in (table, callback):
            sys.modules.pop(f"{package}.{name}", None)
            vars(sys.modules.get(package, stand_in)).pop(name, None)


class EventFile(Writer):
    """Without TensorFlow, by tensorboardX's records and messages.

    It writes at once. tensorboardX's own writer has a thread whose queue its flush does not wait
    for, and which a full disk ends without a word.
    """

    def __init__(self, directory: Path | None):
        """Opens a file in the directory; None writes nothing."""
        self._file: Any = None
        if directory is not None:
            from tensorboardX import event_file_writer

            self._file = event_file_writer.EventsWriter(str(directory / "events"))

    def write_hparams(self, values: Mapping[str, Any]) -> None:
        """The config, for TensorBoard's table of runs."""
        if self._file is None:
            return
        from tensorboardX.summary import hparams

        for summary in hparams(dict(values), {}):
            self._write(summary)

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """{name: number}; NaN is one, too."""
        if self._file is None:
            return
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=float(v)) for name, v in scalars.items()]
        self._write(Summary(value=values), step)

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """{name: uint8 [N, H, W, 3]}."""
        if self._file is None:
            return
        from tensorboardX.summary import image

        for name, value in images.items():
            for number, picture in enumerate(np.asarray(value)):
                tag = f"{name}/{number}" if number else name
                self._write(image(tag, picture, dataformats="HWC"), step)

    def flush(self) -> None:
        """All is in the file already."""

    def _write(self, summary: Any, step: int = 0) -> None:
        """So that it can be looked at. Raises OSError."""
        from tensorboardX.proto.event_pb2 import Event

        self._file.write_event(Event(wall_time=time.time(), step=int(step), summary=summary))
        self._file.flush()
