"""Predicts on a video in the background, and tells how far it is."""

import contextlib
import secrets
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax.demo.studio import DemoError, Studio
from mtl_jax.pictures import figures
from mtl_jax.prediction import Model, PredictionError, network, videos

VIDEO_BYTES = 500 << 20
FRAMES = 3000
_FIGURE_WIDTH = 480
# The beginnings of the files of MP4 and QuickTime, Matroska and WebM, and AVI.
_SIGNATURES = ((4, b"ftyp"), (0, b"\x1aE\xdf\xa3"), (0, b"RIFF"))


def is_video(content: bytes) -> bool:
    """Whether the first bytes of a file are those of a video that is read here."""
    return any(content[at : at + len(mark)] == mark for at, mark in _SIGNATURES) and (
        content[8:12] != b"WEBP"
    )


def available() -> bool:
    """Whether there is something to read videos with."""
    try:
        videos.check_available(Path("video"))
    except PredictionError:
        return False
    return True


class Film:
    """One video on its way.

    Attributes:
      done, total: frames; the total is what the file says, and 0 where it says nothing.
      state: 'running', 'done', 'failed' or 'cancelled'.
      message: of what failed.
      result: the MP4 that is written.
    """

    def __init__(self, folder: Path, source: Path):
        """Takes the file; starts nothing."""
        self.source, self.result = source, folder / "result.mp4"
        self.done, self.total, self.state, self.message = 0, 0, "running", ""
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """It ends after the frame that it is at."""
        self._cancelled.set()

    def progress(self) -> dict[str, Any]:
        """What the page shows."""
        return {"state": self.state, "done": self.done, "total": self.total, "error": self.message}

    def run(self, model: Model, largest_side: int, busy: threading.Lock) -> None:
        """Predicts frame by frame; photographs may come between."""
        try:
            with videos.VideoReader(self.source) as reader:
                self.total = reader.frame_count
                if self.total > FRAMES:
                    raise DemoError(
                        f"This video has {self.total} frames; at most {FRAMES} are predicted on "
                        "here. `mtl predict` takes videos of any length."
                    )
                writer = videos.VideoWriter(self.result, reader.rate, reader.time_base)
                self._frames(reader, writer, model, largest_side, busy)
            self.state = "done"
        except _Cancelled:
            self.state = "cancelled"
        except (DemoError, PredictionError, OSError) as error:
            self.message = str(error).replace(str(self.source), "This video")
            self.state = "failed"
        except Exception:  # a defect of ours, which the terminal shows
            self.message, self.state = "This failed; the terminal says more.", "failed"
            raise
        finally:
            self.source.unlink(missing_ok=True)

    def _frames(self, reader, writer, model, largest_side, busy) -> None:
        with contextlib.closing(reader.frames()) as frames, writer:
            for image, time in frames:
                if self._cancelled.is_set():
                    raise _Cancelled
                if self.done >= FRAMES:
                    raise DemoError(f"This video has more than the {FRAMES} frames that are read.")
                with busy:
                    writer.write(_drawn(model, network.shrink(image, largest_side)), time)
                self.done += 1


class _Cancelled(Exception):
    """Nobody waits for the film any more."""


def _drawn(model: Model, image: np.ndarray) -> np.ndarray:
    maps = model.predict(image)
    return figures.draw(
        "overlay", image, maps, model.tasks, width=_FIGURE_WIDTH, whole_legends=True
    )


class Films:
    """The videos of one server, one at a time; `close` deletes what was written."""

    def __init__(self, studio: Studio):
        """Makes a temporary folder."""
        self._studio = studio
        self._folder = tempfile.TemporaryDirectory(prefix="mtl_demo_")
        self._films: dict[str, Film] = {}
        self._lock = threading.Lock()

    def start(self, model: str, receive: Callable[[Path], None]) -> str:
        """Starts on a video.

        Args:
          model: the network's name.
          receive: writes the video to the path that it is given.

        Returns:
          The key of its film.

        Raises:
          DemoError: there is one on its way, or no such network.
        """
        if model not in self._studio.models:
            raise DemoError(f"There is no network {model!r}.")
        with self._lock:
            if any(film.state == "running" for film in self._films.values()):
                raise DemoError("Another video is on its way; wait for it, or cancel it.")
            key = secrets.token_urlsafe(12)
            folder = Path(self._folder.name, key)
            folder.mkdir()
            film = self._films[key] = Film(folder, folder / "source")
        try:
            receive(film.source)
        except BaseException:
            film.state = "failed"
            film.source.unlink(missing_ok=True)
            raise
        threading.Thread(
            target=film.run,
            args=(self._studio.models[model], self._studio.largest_side, self._studio.busy),
            daemon=True,
        ).start()
        return key

    def get(self, key: str) -> Film:
        """The film of a key. Raises DemoError if there is none."""
        if key not in self._films:
            raise DemoError("There is no such video here; drop it again.")
        return self._films[key]

    def close(self) -> None:
        """Ends what runs, and deletes the folder."""
        for film in self._films.values():
            film.cancel()
        self._folder.cleanup()
