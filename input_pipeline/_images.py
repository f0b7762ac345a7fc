"""Reads image files of a release, and refuses what is not what it should be."""

import os

import numpy as np
from PIL import Image

from input_pipeline.errors import DatasetError


def read_rgb(path: str | os.PathLike, *, key: str = "image") -> np.ndarray:
    """Reads an 8-bit RGB photograph: uint8 [H, W, 3].

    Raises:
      DatasetError: the file is missing, does not decode, or is not 8-bit RGB.
    """
    return _read(path, key, modes=("RGB",), expected="an 8-bit RGB image")


def read_ids(path: str | os.PathLike, *, key: str) -> np.ndarray:
    """Reads a map of ids: uint8 [H, W]. Of a palette image the indices count, not the colours.

    Raises:
      DatasetError: the file is missing, does not decode, or does not hold 8-bit ids.
    """
    return _read(
        path, key, modes=("L", "P"), expected="one channel of 8-bit ids (grey or palette PNG)"
    )


def _read(
    path: str | os.PathLike, key: str, *, modes: tuple[str, ...], expected: str
) -> np.ndarray:
    try:
        with Image.open(path) as image:
            image.load()
            if image.mode not in modes:
                raise DatasetError(
                    f"{path}, key {key!r}: expected {expected}, found mode {image.mode!r} "
                    f"({image.width}×{image.height}, {image.format})."
                )
            return np.array(image, np.uint8)
    except DatasetError:
        raise
    # Pillow reports broken files with all of these, depending on the format and the damage.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DatasetError(
            f"{path}, key {key!r}: expected {expected}, but the file does not decode "
            f"({type(error).__name__}: {error}). Copy it again from the release."
        ) from error
