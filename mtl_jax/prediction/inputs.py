"""Which files the user means, what their results are called, and how photographs are read."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mtl_jax.prediction.errors import PredictionError

PHOTOGRAPHS = (".jpg", ".jpeg", ".png")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm")
_SUFFIXES = (*PHOTOGRAPHS, *VIDEOS)
# 16-bit grey could mean any range of brightness, or be no photograph at all.
_MODES_8_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK")


def expand_inputs(patterns: str | Sequence[str]) -> list[Path]:
    """Finds the photographs and videos that the user means.

    Args:
      patterns: files, folders or globs (`**` for any depth), a list or with commas between. Of a
        folder its photographs and videos are taken, not those in folders within.

    Returns:
      Each file once, in the order given; those of one folder or glob sorted by name.

    Raises:
      PredictionError: a pattern matches nothing, or a file that is named like neither.
    """
    if isinstance(patterns, str):
        patterns = [patterns] if os.path.exists(patterns) else patterns.split(",")
    patterns = [pattern.strip() for pattern in patterns if pattern.strip()]
    if not patterns:
        raise PredictionError("--input names no file; expected files, folders or globs.")
    files: dict[Path, Path] = {}
    for pattern in patterns:
        for file in _expand(pattern):
            files.setdefault(file.resolve(), file)
    return list(files.values())


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Reads a photograph the way it is meant to be seen.

    The EXIF orientation is applied, grey becomes RGB, transparent pixels are laid over black, CMYK
    is converted without its colour profile, and RGB of 16 bits per channel keeps the upper 8.

    Returns:
      [H, W, 3] uint8.

    Raises:
      PredictionError: the file does not decode as JPEG or PNG to its end, or is 16-bit grey.
    """
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            if image.mode not in _MODES_8_BIT:
                raise PredictionError(
                    f"{path}: expected a photograph of 8 bits per channel, found mode "
                    f"{image.mode!r} ({image.width}×{image.height}). Convert it to 8 bits first."
                )
            upright = ImageOps.exif_transpose(image)
            if upright.has_transparency_data:
                upright = upright.convert("RGBA")
                black = Image.new("RGBA", upright.size, (0, 0, 0, 255))
                upright = Image.alpha_composite(black, upright)
            return np.array(upright.convert("RGB"), np.uint8)
    except PredictionError:
        raise
    # Pillow reports broken files with all of these, depending on the format and the damage.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise PredictionError(
            f"{path}: does not decode as JPEG or PNG ({type(error).__name__}: {error})."
        ) from error


def is_video(file: Path) -> bool:
    """Whether a file is named like a video."""
    return file.suffix.lower() in VIDEOS


def output_names(files: Sequence[Path]) -> list[str]:
    """A name for each file, all of them different: the shortest of four forms that makes it so.

    That is the file's name without suffix; its path below the common folder, joined by '_';
    the same with the suffix; or the latter after a number.
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
    # Some file systems take no notice of case.
    return next(names for names in forms if len({n.casefold() for n in names}) == len(files))


def _expand(pattern: str) -> list[Path]:
    path = Path(pattern).expanduser()
    if path.is_dir():
        inside = (file for file in path.iterdir() if not file.is_dir())
        found = sorted(file for file in inside if file.suffix.lower() in _SUFFIXES)
        if not found:
            raise PredictionError(
                f"--input={pattern}: this folder holds no {', '.join(_SUFFIXES)} file. "
                "For folders within it, give a glob such as "
                f"'{path}/**/*.jpg'."
            )
        return found
    # A file's name may look like a glob, as in 'street [1].jpg'.
    found = [path] if path.exists() else sorted(map(Path, glob.iglob(str(path), recursive=True)))
    found = [file for file in found if not file.is_dir()]
    if not found:
        raise PredictionError(
            f"--input={pattern}: no such file or folder, and no file matches it as a glob. "
            f"The current folder is {Path.cwd()}."
        )
    for file in found:
        if file.suffix.lower() not in _SUFFIXES:
            raise PredictionError(
                f"--input={pattern}: expected files named {', '.join(_SUFFIXES)}, found {file}."
            )
    return found
