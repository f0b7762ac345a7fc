"""What a tracker has to take, as clu's `MetricWriter` does."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


class Tracker:
    """A writer of scalars and pictures; hyperparameters are given when it is opened.

    Attributes:
      id: by which the tracker knows the run.
    """

    id: str

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Keeps numbers, {name: value}, of a step."""
        raise NotImplementedError

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Keeps pictures, {name: [1, H, W, 3] uint8}, of a step."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends the run in the tracker; it may be opened again."""
        raise NotImplementedError


class Also:
    """A writer that writes to trackers as well."""

    def __init__(self, writer: Any, trackers: Iterable[Tracker]):
        """Takes the writer of TensorBoard events, and open trackers."""
        self._writer, self._trackers = writer, list(trackers)

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """{name: number} of a step."""
        for writer in (self._writer, *self._trackers):
            writer.write_scalars(step, scalars)

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """{name: [1, H, W, 3] uint8} of a step."""
        for writer in (self._writer, *self._trackers):
            writer.write_images(step, images)

    def flush(self) -> None:
        """Waits until the events are in their file; trackers send by themselves."""
        self._writer.flush()

    def close(self) -> None:
        """Ends the run in the trackers; it may be opened there again."""
        for tracker in self._trackers:
            tracker.close()
