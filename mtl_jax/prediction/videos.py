"""Videos as streams of frames, by PyAV, which is an extra: `pip install -e '.[video]'`."""

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax.prediction.errors import PredictionError

_QUALITY = "18"  # x264's constant rate factor: no loss that one would see


class VideoReader:
    """Decodes one frame after the other; to be used in a `with` statement.

    Attributes:
      frame_count: by what the file says; 0 where it says nothing.
      missing_count: of frames that it announces and does not have; known at its end.
      rate: frames per second, on average.
      time_base: the unit of its frames' times, in seconds.
    """

    def __init__(self, path: Path):
        """Opens the file.

        Raises:
          PredictionError: PyAV is not installed, or the file does not decode as a video.
        """
        self._path, self._av = path, _import_av(path)
        try:
            self._container = self._av.open(str(path))
        except self._av.FFmpegError as error:
            raise self._broken(error) from error
        if not self._container.streams.video:
            self._container.close()
            raise PredictionError(f"{path}: expected a video, found no pictures in it.")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self.time_base = _fraction(self._stream.time_base)
        self.rate = _rate(self._stream)
        self.frame_count = self._stream.frames or self._estimated_count()
        self.missing_count = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._container.close()

    def frames(self) -> Iterator[tuple[np.ndarray, Fraction]]:
        """Decodes the video from its beginning; once.

        Yields:
          [H, W, 3] uint8, turned as a player shows it, and its time in seconds from the first.

        Raises:
          PredictionError: the video is damaged, or its frames differ in size.
        """
        size, first, count = None, None, 0
        try:
            for frame in self._container.decode(self._stream):
                image = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                if image.shape[:2] != (size := size or image.shape[:2]):
                    raise PredictionError(
                        f"{self._path}: expected frames of one size, found {_size(image.shape)} "
                        f"at frame {count} after {_size(size)}. Convert it to one size first."
                    )
                time = count / self.rate if frame.pts is None else frame.pts * self.time_base
                first = time if first is None else first
                yield np.ascontiguousarray(image), time - first
                count += 1
        except self._av.FFmpegError as error:
            raise self._broken(error, count) from error
        if not count:
            raise PredictionError(f"{self._path}: expected a video, found no frame in it.")
        self.missing_count = max(0, self._stream.frames - count)

    def _estimated_count(self) -> int:
        if self._stream.duration:
            return round(self._stream.duration * self.time_base * self.rate)
        if self._container.duration:
            return round(Fraction(self._container.duration, self._av.time_base) * self.rate)
        return 0

    def _broken(self, error: Exception, count: int | None = None) -> PredictionError:
        where = "" if count is None else f" beyond frame {count}"
        return PredictionError(
            f"{self._path}: does not decode as a video{where} ({type(error).__name__}: {error})."
        )


class VideoWriter:
    """Encodes one frame after the other as H.264 in MP4; to be used in a `with` statement.

    The file has a temporary name until the statement ends without an exception, and is deleted if
    it ends with one.
    """

    def __init__(self, path: Path, rate: Fraction, time_base: Fraction):
        """Takes the file's name; the first frame opens it, and there has to be one.

        Args:
          path: to write to, `.mp4`.
          rate: frames per second, on average.
          time_base: the unit in which times are written, in seconds.
        """
        self._path, self._rate, self._time_base = path, rate, time_base
        self._av = _import_av(path)
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}")
        self._container: Any = None
        self._stream: Any = None
        self._last = -1

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            with self._os_errors():
                if kind is None:
                    self._container.mux(self._stream.encode())
                if self._container is not None:
                    self._container.close()
            if kind is None:
                os.replace(self._temporary, self._path)
        finally:
            self._temporary.unlink(missing_ok=True)

    def write(self, picture: np.ndarray, time: Fraction) -> None:
        """Appends a frame.

        Args:
          picture: [H, W, 3] uint8; of one size. A last odd row or column is repeated, as the
            encoding has half the resolution in colour.
          time: in seconds, later than the one before.
        """
        height, width = picture.shape[:2]
        even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        # Damaged videos repeat times, which MP4 does not allow; no frame is lost for that.
        self._last = frame.pts = max(round(time / self._time_base), self._last + 1)
        frame.time_base = self._time_base
        with self._os_errors():
            if self._container is None:
                self._open(*even.shape[:2])
            self._container.mux(self._stream.encode(frame))

    def _open(self, height: int, width: int) -> None:
        self._container = self._av.open(
            str(self._temporary), "w", format="mp4", container_options={"movflags": "faststart"}
        )
        stream = self._container.add_stream("libx264", self._rate, options={"crf": _QUALITY})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        context = stream.codec_context
        context.time_base = self._time_base
        # What players assume of a high resolution, said for all.
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = 1  # 16 ... 235
        self._stream = stream

    @contextlib.contextmanager
    def _os_errors(self):
        """A disk that is full is the same error here as everywhere."""
        try:
            yield
        except self._av.FFmpegError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error


def check_available(path: Path) -> None:
    """Raises PredictionError if `path` is a video that nothing here can read."""
    _import_av(path)


def _import_av(path: Path):
    try:
        import av
    except ImportError as error:
        raise PredictionError(
            f"{path}: videos need PyAV, which is not installed. Install it by "
            "pip install -e '.[video]', or pip install av."
        ) from error
    return av


def _rate(stream: Any) -> Fraction:
    """Frames per second; 25 where a file says nothing."""
    said = [rate for rate in (stream.average_rate, stream.guessed_rate) if rate and rate.numerator]
    return _fraction(said[0]) if said else Fraction(25)


def _fraction(value: Any) -> Fraction:
    """PyAV has rationals of its own since version 18."""
    return Fraction(value.numerator, value.denominator)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}×{shape[0]}"
