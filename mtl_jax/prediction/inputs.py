"""Which files the user means, what their results are called, and how photographs are read."""

import glob
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from mtl_jax.prediction.errors import PredictionError

PHOTOGRAPHS = (".jpg", ".jpeg", ".png")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm")
_SUFFIXES = (*PHOTOGRAPHS, *VIDEOS)
# 16-bit grey could mean any range of brightness, or be no photograph at all.
_MODES_8_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK")

_TURNS = {  # that show an image of this EXIF orientation upright; 1 is upright already
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_LONGEST_NAME = 255  # bytes, on nearly every file system


def expand_inputs(patterns: str | Sequence[str]) -> list[Path]:
    """Finds the photographs and videos that the user means.

    Args:
      patterns: files, folders or globs (`**` for any depth), a list or with commas between; a
        comma that is part of an existing file's name is no separator. Of a folder its photographs
        and videos are taken, but for hidden ones, and not those in folders within.

    Returns:
      Each file once, in the order given; those of one folder or glob sorted by name.

    Raises:
      PredictionError: a pattern matches nothing, or a file that is named like neither.
    """
    texts = [patterns] if isinstance(patterns, str) else patterns
    patterns = [pattern for text in texts for pattern in _split(text)]
    if not patterns:
        raise PredictionError("--input names no file; expected files, folders or globs.")
    files: dict[str, Path] = {}
    for pattern in patterns:
        for file in _expand(pattern):
            files.setdefault(os.path.realpath(file), file)
    return list(files.values())


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Reads a photograph, JPEG or PNG, the way it is meant to be seen; see `as_rgb`.

    Returns:
      [H, W, 3] uint8.

    Raises:
      PredictionError: it is no file that decodes as JPEG or PNG to its end, or is 16-bit grey.
    """
    check_is_file(path)
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            return as_rgb(image, shown(path))
    except PredictionError:
        raise
    except Exception as error:  # Pillow raises whatever a damaged file leads it to
        raise PredictionError(
            f"{shown(path)}: does not decode as JPEG or PNG ({type(error).__name__}: {error})."
        ) from error


def as_rgb(image: Image.Image, name: str) -> np.ndarray:
    """The pixels of a photograph as it is meant to be seen.

    The EXIF orientation is applied, grey becomes RGB, transparent pixels are laid over black, CMYK
    is converted without its colour profile, and RGB of 16 bits per channel keeps the upper 8.

    Args:
      image: of 8 bits per channel.
      name: for messages.

    Returns:
      [H, W, 3] uint8.

    Raises:
      PredictionError: it has another mode, such as 16-bit grey.
    """
    if image.mode not in _MODES_8_BIT:
        raise PredictionError(
            f"{name}: expected a photograph of 8 bits per channel, found mode {image.mode!r} "
            f"({image.width}×{image.height}). Convert it to 8 bits first."
        )
    # `ImageOps.exif_transpose` also rewrites the EXIF, and fails where any number in it is odd.
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    upright = image if turn is None else image.transpose(turn)
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        black = Image.new("RGBA", upright.size, (0, 0, 0, 255))
        upright = Image.alpha_composite(black, upright)
    return np.array(upright.convert("RGB"), np.uint8)


def check_is_file(path: str | os.PathLike) -> None:
    """Raises PredictionError if opening it would not give a file, or never end, as of a FIFO."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise PredictionError(f"{shown(path)}: cannot be read ({reason}).") from error
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
        raise PredictionError(f"{shown(path)}: expected a file, found {kind}.")


def shown(path: str | os.PathLike) -> str:
    """A path for messages: bytes that are no UTF-8, which cannot be printed, as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def is_video(file: Path) -> bool:
    """Whether a file is named like a video."""
    return file.suffix.lower() in VIDEOS


def output_names(files: Sequence[Path], *, suffixes: Sequence[str] = ("",)) -> list[str]:
    """A name for each file, so that no two share an output: the shortest of four forms that does.

    That is the file's name without suffix; its path below the common folder, joined by '_';
    the same with the suffix; or the latter after a number. Of a name that is too long the end is
    replaced by a checksum of it.

    Args:
      files: to name.
      suffixes: what is appended to a name for each of its outputs.
    """
    files = [Path(file).absolute() for file in files]
    if not files:
        return []
    root = os.path.commonpath([file.parent for file in files])
    below = ["_".join(file.relative_to(root).parts) for file in files]
    forms = (
        [file.stem for file in files],
        [os.path.splitext(path)[0] for path in below],
        [path.replace(".", "_") for path in below],
        [f"{i:06d}_{path.replace('.', '_')}" for i, path in enumerate(below)],
    )
    longest = _LONGEST_NAME - max(len(suffix.encode()) for suffix in suffixes)
    forms = ([_cut(name, longest) for name in names] for names in forms)
    return next(names for names in forms if _are_apart(names, suffixes))


def _are_apart(names: Sequence[str], suffixes: Sequence[str]) -> bool:
    """Whether no two names share an output, as 'x' + '_car_depth' and 'x_car' + '_depth' do."""
    # Some file systems take no notice of case.
    outputs = [{f"{name}{suffix}".casefold() for suffix in suffixes} for name in names]
    return len(set().union(*outputs)) == sum(map(len, outputs))


def _cut(name: str, longest: int) -> str:
    """The name, or its beginning and a checksum of it, in at most `longest` bytes of UTF-8."""
    encoded = os.fsencode(name)
    if len(encoded) <= longest:
        return name
    checksum = hashlib.sha256(encoded).hexdigest()[:8]
    return f"{encoded[: longest - 9].decode('utf-8', 'ignore')}_{checksum}"


def _split(text: str) -> Iterator[str]:
    """The patterns between commas; as many parts as name something that exists are one."""
    parts = text.split(",")
    first = 0
    while first < len(parts):
        for last in range(len(parts), first, -1):
            pattern = ",".join(parts[first:last]).strip()
            if last == first + 1 or (pattern and os.path.lexists(os.path.expanduser(pattern))):
                break
        if pattern:
            yield pattern
        first = last


def _expand(pattern: str) -> list[Path]:
    path = Path(os.path.expanduser(pattern))  # of '~photo.png', if there is no such user, nothing
    if path.is_dir():
        inside = (file for file in path.iterdir() if not file.is_dir())
        found = sorted(
            file
            for file in inside
            if file.suffix.lower() in _SUFFIXES and not file.name.startswith(".")
        )
        if not found:
            raise PredictionError(
                f"--input={shown(pattern)}: this folder holds no {', '.join(_SUFFIXES)} file. "
                "For folders within it, give a glob such as "
                f"'{shown(path)}/**/*.jpg'."
            )
        return found
    # A file's name may look like a glob, as in 'street [1].jpg'.
    exists = os.path.lexists(path)
    found = [path] if exists else sorted(map(Path, glob.iglob(str(path), recursive=True)))
    found = [file for file in found if not file.is_dir()]
    if not found:
        raise PredictionError(
            f"--input={shown(pattern)}: no such file or folder, and no file matches it as a glob. "
            f"The current folder is {Path.cwd()}."
        )
    for file in found:
        if file.suffix.lower() not in _SUFFIXES:
            raise PredictionError(
                f"--input={shown(pattern)}: expected files named {', '.join(_SUFFIXES)}, found "
                f"{shown(file)}."
            )
    return found
