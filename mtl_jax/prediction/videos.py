"""Videos as streams of frames, by PyAV, which is an extra: `pip install 'mtl-jax[video]'`."""

import contextlib
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax import _files
from mtl_jax.prediction import inputs
from mtl_jax.prediction.errors import PredictionError

_QUALITY = "18"  # x264's constant rate factor: no loss that one would see
# Nearer to the frames than `veryfast`, in two thirds of its time; files are two thirds larger.
_PRESET = "superfast"
# Seconds by which a whole file's length may differ from what its header says.
_TOLERANCE = Fraction(1, 4)


class VideoReader:
    """Decodes one frame after the other; to be used in a `with` statement.

    Attributes:
      frame_count: by what the file says; 0 where it says nothing. Some formats count frames, others
        tell how long the video is.
      missing_count: of frames that it announces and does not have, about; known at its end.
      rate: frames per second, on average.
      time_base: the unit of its frames' times, in seconds.
    """

    def __init__(self, path: Path):
        """Opens the file.

        Raises:
          PredictionError: PyAV is not installed, or the file does not decode as a video.
        """
        self._path, self._av = path, _import_av(path)
        inputs.check_is_file(path)
        try:
            self._container = self._av.open(str(path), **_lenient(self._av))
        except self._av.FFmpegError as error:
            raise self._broken(error) from error
        if not self._container.streams.video:
            self._container.close()
            name = inputs.shown(path)
            raise PredictionError(f"{name}: expected a video, found no pictures in it.")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self.time_base = _fraction(self._stream.time_base)
        self.rate = _rate(self._stream)
        self._length = self._told_length()
        length = self._length or Fraction(self._container.duration or 0, self._av.time_base)
        self.frame_count = self._stream.frames or round(length * self.rate)
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
        size, first, count, time = None, None, 0, Fraction(0)
        try:
            for frame in self._container.decode(self._stream):
                image = upright(frame.to_ndarray(format="rgb24"), _display_matrix(frame))
                if image.shape[:2] != (size := size or image.shape[:2]):
                    raise PredictionError(
                        f"{inputs.shown(self._path)}: expected frames of one size, found "
                        f"{_size(image.shape)} at frame {count} after {_size(size)}. Convert it to "
                        "one size first."
                    )
                time = count / self.rate if frame.pts is None else frame.pts * self.time_base
                first = time if first is None else first
                yield np.ascontiguousarray(image), time - first
                count += 1
        except PredictionError:
            raise
        except Exception as error:  # PyAV raises more than FFmpeg's errors for odd frames
            raise self._broken(error, count) from error
        if not count:
            name = inputs.shown(self._path)
            raise PredictionError(f"{name}: expected a video, found no frame in it.")
        if self._stream.frames:
            self.missing_count = max(0, self._stream.frames - count)
        else:
            missing = self._length - time - 1 / self.rate
            self.missing_count = round(missing * self.rate) if missing > _TOLERANCE else 0

    def _told_length(self) -> Fraction:
        """Seconds until the video's end by what the file says; 0 where it says nothing."""
        if self._stream.duration:
            return self._stream.duration * self.time_base
        # Matroska and WebM: the stream's own length, where the file's may be that of its sound.
        told = re.fullmatch(
            r"(\d+):(\d+):(\d+(?:\.\d+)?)", self._stream.metadata.get("DURATION", "")
        )
        if told:
            hours, minutes, seconds = map(Fraction, told.groups())
            return 3600 * hours + 60 * minutes + seconds
        if self._container.duration and len(self._container.streams) == 1:
            return Fraction(self._container.duration, self._av.time_base)
        return Fraction(0)

    def _broken(self, error: Exception, count: int | None = None) -> PredictionError:
        where = "" if count is None else f" beyond frame {count}"
        return PredictionError(
            f"{inputs.shown(self._path)}: does not decode as a video{where} "
            f"({type(error).__name__}: {error})."
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
        self._exit = contextlib.ExitStack()
        self._container: Any = None
        self._stream: Any = None
        self._last = -1

    def __enter__(self):
        replacing = _files.replacing(self._path, durable=False)
        self._temporary = self._exit.enter_context(replacing)
        self._exit.push(self._close)
        return self

    def __exit__(self, *error):
        return self._exit.__exit__(*error)

    def _close(self, kind, *_) -> None:
        """Ends the file, before it takes its place."""
        with self._os_errors():
            if kind is None:
                self._container.mux(self._stream.encode())
            if self._container is not None:
                self._container.close()

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
        options = {"crf": _QUALITY, "preset": _PRESET}
        stream = self._container.add_stream("libx264", self._rate, options=options)
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


def upright(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """A frame as players show it: turned by quarters, and mirrored, as its display matrix says.

    Args:
      image: [H, W, 3], as it is stored.
      matrix: [3, 3], of which the pixel in column x and row y is shown where [x, y, 1] @ matrix is,
        up to a shift (ISO/IEC 14496-12, 6.2.2). Other angles are rounded to quarters.
    """
    (a, b), (c, d) = np.asarray(matrix, np.float64)[:2, :2]
    if abs(a) + abs(d) < abs(b) + abs(c):
        image, a, d = image.swapaxes(0, 1), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _display_matrix(frame: Any) -> np.ndarray:
    """[3, 3]; the identity where the file says nothing."""
    from av.sidedata.sidedata import Type

    # Not by iterating, which gives the data up to PyAV 18 and their keys from 19 on.
    data = frame.side_data.get(Type.DISPLAYMATRIX)
    return np.eye(3) if data is None else np.frombuffer(bytes(data), np.int32).reshape(3, 3)


def check_available(path: Path) -> None:
    """Raises PredictionError if `path` is a video that nothing here can read."""
    _import_av(path)


def _import_av(path: Path):
    try:
        import av
    except ImportError as error:
        raise PredictionError(
            f"{path}: videos need PyAV, which is not installed: pip install 'mtl-jax[video]'."
        ) from error
    return av


def _rate(stream: Any) -> Fraction:
    """Frames per second; 25 where a file says nothing."""
    said = [rate for rate in (stream.average_rate, stream.guessed_rate) if rate and rate.numerator]
    return _fraction(said[0]) if said else Fraction(25)


def _lenient(av: Any) -> dict[str, str]:
    """Names and comments in a video need not be UTF-8, which PyAV is told up to its version 18."""
    return {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}


def _fraction(value: Any) -> Fraction:
    """PyAV has rationals of its own since version 18."""
    return Fraction(value.numerator, value.denominator)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}×{shape[0]}"
