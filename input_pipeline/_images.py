"""Reads the files of a release, refuses what is not what it should be, and resizes.

Every reader takes a path or a `sources.File`, and the key that is read, for messages.
"""

import contextlib
import io
import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from input_pipeline import _endings
from input_pipeline.errors import DatasetError
from input_pipeline.sources import File

Readable = str | os.PathLike | File

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"

# EXIF orientation ─► what shows the photograph upright; 1 and everything unknown is upright.
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Modes and bits of what can be seen in but one way; Pillow makes 0 ... 255 of grey of fewer bits.
_SEEN = {
    **dict.fromkeys(("RGB", "RGBA", "LA", "PA", "CMYK"), (8,)),
    **dict.fromkeys(("1", "L", "P"), (1, 2, 4, 8)),
}
# Of maps, only formats that keep every value.
_LOSSLESS = ("PNG", "BMP", "GIF", "PPM", "TIFF")

# Pillow reports broken files with all of these, depending on the format and the damage.
_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


class Photo(NamedTuple):
    """A photograph, upright, and the file that it came from, which may be stored as it is.

    Attributes:
      pixels: uint8 [H, W, 3].
      contents: of the PNG or JPEG file; those of a PNG made of the pixels if the file is of another
        kind, or has an EXIF orientation, which the decoder of records does not know.
    """

    pixels: np.ndarray
    contents: bytes


def read_photo(file: Readable, *, key: str = "image") -> Photo:
    """Reads an 8-bit RGB photograph.

    Raises:
      DatasetError: the file is missing, does not decode to its end, or is not 8-bit RGB.
    """
    return _read_photo(file, key, bits={"RGB": (8,)}, expected="an 8-bit RGB image")


def read_any_photo(file: Readable, *, key: str = "image") -> Photo:
    """As `read_photo`, and grey photographs too, which get three equal channels.

    For collections from the web. The contents stay those of the file; whoever decodes them has to
    ask for three channels, as TFDS does.
    """
    bits, expected = {"RGB": (8,), "L": (8,)}, "an 8-bit RGB or grey image"
    photo = _read_photo(file, key, bits=bits, expected=expected)
    if photo.pixels.ndim == 3:
        return photo
    return Photo(np.repeat(photo.pixels[..., None], 3, axis=2), photo.contents)


def read_as_seen(file: Readable, *, key: str = "image") -> Photo:
    """Reads any photograph of 8 bits per channel as `mtl_jax.prediction` shows it to a network.

    For folders of one's own. Grey becomes RGB, transparent pixels are laid over black, CMYK is
    converted without its colour profile; the contents are then a PNG of that.

    Raises:
      DatasetError: the file is missing, does not decode to its end, or has other bits.
    """
    contents = _file(file).read()
    expected = "a photograph of 8 bits per channel"
    image = _decode(file, contents, key, bits=_SEEN, expected=expected)
    if image.mode == "RGB":
        return _upright(image, contents)
    turn = _UPRIGHT.get(_orientation(image))
    seen = image if turn is None else image.transpose(turn)
    if seen.has_transparency_data:
        seen = seen.convert("RGBA")
        seen = Image.alpha_composite(Image.new("RGBA", seen.size, (0, 0, 0, 255)), seen)
    pixels = np.array(seen.convert("RGB"))
    return Photo(pixels, png(pixels))


def read_ids(file: Readable, *, key: str) -> np.ndarray:
    """Reads a map of ids: uint8 [H, W]. Of a palette image the indices count, not the colours.

    Raises:
      DatasetError: the file is missing, does not decode, or does not hold 8-bit ids.
    """
    # Grey of fewer bits would be stretched to 0 ... 255; indices of a palette are not.
    bits = {"L": (8,), "P": (1, 2, 4, 8)}
    expected = "one channel of 8-bit ids (grey or palette PNG)"
    return _read_map(file, key, bits=bits, expected=expected)


def read_uint16(file: Readable, *, key: str) -> np.ndarray:
    """Reads a 16-bit grey PNG: uint16 [H, W], the values as they are in the file.

    Raises:
      DatasetError: the file is missing, does not decode, or does not hold one channel of 16 bits.
    """
    # Older versions of Pillow open 16-bit PNGs as 'I', which is 32 bits.
    bits, expected = {"I;16": (16,), "I": (16,)}, "one channel of 16 bits (16-bit grey PNG)"
    return _read_map(file, key, bits=bits, expected=expected).astype(np.uint16)


def read_colours(file: Readable, *, key: str) -> np.ndarray:
    """Reads a map of three 8-bit values, such as normals: uint8 [H, W, 3].

    Raises:
      DatasetError: the file is missing, does not decode, or is not 8-bit RGB.
    """
    expected = "three channels of 8 bits (RGB PNG)"
    return _read_map(file, key, bits={"RGB": (8,)}, expected=expected)


def read_npy(file: Readable, *, key: str) -> np.ndarray:
    """Reads the array of a .npy file.

    Raises:
      DatasetError: the file is missing, is not a .npy file, or holds Python objects.
    """
    with _loading(file, key, ".npy"):
        return np.lib.format.read_array(_file(file).open(), allow_pickle=False)


def read_npz(file: Readable, *, key: str, array: str) -> np.ndarray:
    """Reads one array of a .npz file.

    Raises:
      DatasetError: as `read_npy`, or the file has no such array.
    """
    with _loading(file, key, ".npz"), np.load(_file(file).open(), allow_pickle=False) as arrays:
        if array not in arrays:
            raise DatasetError(
                f"{file}, key {key!r}: expected an array {array!r}, found {', '.join(arrays)}."
            )
        return arrays[array]


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a photograph: bilinear, with the triangle as wide as a result pixel where it shrinks.

    This is Pillow's BILINEAR, which averages over all source pixels; torchvision calls it
    antialiased.

    Args:
      image: uint8 [H, W, 3].
      size: (height, width) of the result.

    Returns:
      uint8 [height, width, 3].
    """
    if image.shape[:2] == tuple(size):
        return image
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


def resize_nearest(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a map by nearest neighbour: no value arises that was not there before.

    Result pixel i shows the source pixel in which its centre falls, ⌊(i + ½)·H/height⌋, as in
    Pillow's NEAREST.

    Args:
      values: [H, W] or [H, W, C] of any dtype.
      size: (height, width) of the result.

    Returns:
      [height, width] or [height, width, C].
    """
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new) for old, new in zip(values.shape, size)
    )
    return values[rows[:, None], columns]


def png(array: np.ndarray) -> bytes:
    """The PNG of uint8 [H, W] or [H, W, 3], or of uint16 [H, W]."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, format="png")
    return buffer.getvalue()


def _file(file: Readable) -> File:
    return file if isinstance(file, File) else File(os.fspath(file))


def _read_photo(
    file: Readable, key: str, *, bits: Mapping[str, tuple[int, ...]], expected: str
) -> Photo:
    contents = _file(file).read()
    return _upright(_decode(file, contents, key, bits=bits, expected=expected), contents)


def _upright(image: Image.Image, contents: bytes) -> Photo:
    turn = _UPRIGHT.get(_orientation(image))
    stored = turn is None and contents.startswith((_PNG, _JPEG))  # what TensorFlow decodes
    pixels = np.array(image if turn is None else image.transpose(turn))
    return Photo(pixels, contents if stored else png(pixels))


def _read_map(
    file: Readable, key: str, *, bits: Mapping[str, tuple[int, ...]], expected: str
) -> np.ndarray:
    image = _decode(file, _file(file).read(), key, bits=bits, expected=expected)
    if image.format not in _LOSSLESS or image.info.get("compression") == "jpeg":
        raise DatasetError(
            f"{file}, key {key!r}: expected {expected}, found {image.format}, whose compression "
            "changes values, so that some mean what nobody drew. Export the labels again as PNG."
        )
    if _orientation(image) in _UPRIGHT:
        raise DatasetError(
            f"{file}, key {key!r}: expected a map as it is, found one with the EXIF orientation "
            f"{_orientation(image)}. Save it upright, without EXIF."
        )
    return np.array(image)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION, 1)
    # EXIF is written by anything that has a camera, and Pillow fails on it in as many ways. What
    # cannot be read turns nothing, in viewers as in `mtl_jax.prediction`.
    except Exception:
        return 1


def _decode(
    file: Readable, contents: bytes, key: str, *, bits: Mapping[str, tuple[int, ...]], expected: str
) -> Image.Image:
    """Decodes an image whose mode is a key of `bits`, and, of PNGs, whose bits per channel fit."""
    try:
        with Image.open(io.BytesIO(contents)) as image:
            image.load()
    except UnidentifiedImageError as error:  # its text is an address in memory
        raise DatasetError(
            f"{file}, key {key!r}: expected {expected}, but the file is no image. "
            "Save it again, or copy it again from where it came from."
        ) from error
    except _PILLOW_ERRORS as error:
        raise DatasetError(
            f"{file}, key {key!r}: expected {expected}, but the file does not decode "
            f"({type(error).__name__}: {error}). Copy it again from where it came from."
        ) from error
    if not _endings.is_complete(contents):
        raise DatasetError(
            f"{file}, key {key!r}: expected {expected}, but the file does not decode to its end: "
            "its last bytes are missing or damaged. Copy it again from where it came from."
        )
    # Pillow does not tell that it made 8 bits of 16, but byte 24 of a PNG is the number of bits.
    # Of other formats, only those of 8 bits are unambiguous.
    depth = contents[24] if contents.startswith(_PNG) else None
    if (8 if depth is None else depth) not in bits.get(image.mode, ()):
        raise DatasetError(
            f"{file}, key {key!r}: expected {expected}, found mode {image.mode!r} "
            f"({image.width}×{image.height}, {image.format}"
            f"{'' if depth is None else f' of {depth} bits'}). Convert it to that."
        )
    return image


@contextlib.contextmanager
def _loading(file: Readable, key: str, suffix: str) -> Iterator[None]:
    try:
        yield
    except DatasetError:
        raise
    # A truncated .npz is a bad zip archive, a .npy with objects in it a ValueError, and so on.
    except Exception as error:
        raise DatasetError(
            f"{file}, key {key!r}: expected a {suffix} file, but it does not load "
            f"({type(error).__name__}: {error}). Copy it again from where it came from."
        ) from error
