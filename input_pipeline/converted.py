"""The file of one converted example: a .npz archive, so it holds numbers and text, never code.

Every member of it has a checksum, so half a file, or another one under its name, is noticed.
"""

import contextlib
import json
import os
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from input_pipeline import summary
from input_pipeline.errors import DatasetError

_HEADER = "header"
# In front of a key, what its value is.
_ARRAY, _BYTES, _TEXT = "array ", "bytes ", "text "


class Header(NamedTuple):
    """What is known of a converted example without decoding it."""

    size: tuple[int, int]
    counts: summary.Counts


def write(stream: BinaryIO, header: Header, example: dict[str, Any]) -> None:
    """Writes an example: by key an array of numbers, bytes, or text."""
    described = {"size": header.size, "counts": header.counts}
    arrays = {_HEADER: _octets(json.dumps(described, default=_plain).encode())}
    for key, value in example.items():
        if isinstance(value, bytes):
            arrays[_BYTES + key] = _octets(value)
        elif isinstance(value, str):
            arrays[_TEXT + key] = _octets(value.encode())
        else:
            arrays[_ARRAY + key] = value
    np.savez(stream, **arrays)


def read_header(file: str | os.PathLike) -> Header:
    """The header of an example.

    Raises:
      DatasetError: the file is damaged.
    """
    with _open(file) as arrays:
        found = _read(file, lambda: json.loads(arrays[_HEADER].tobytes()))
    counts = {
        key: {n: np.asarray(v) if isinstance(v, list) else v for n, v in of_key.items()}
        for key, of_key in found["counts"].items()
    }
    return Header(tuple(found["size"]), counts)


def read_example(file: str | os.PathLike) -> dict[str, Any]:
    """What is stored for each key.

    Raises:
      DatasetError: the file is damaged.
    """
    example = {}
    with _open(file) as arrays:
        for name in arrays.files:
            value = _read(file, lambda name=name: arrays[name])
            for prefix, convert in (
                (_ARRAY, lambda v: v),
                (_BYTES, lambda v: v.tobytes()),
                (_TEXT, lambda v: v.tobytes().decode()),
            ):
                if name.startswith(prefix):
                    example[name.removeprefix(prefix)] = convert(value)
    return example


def is_whole(file: str | os.PathLike) -> bool:
    """Whether the file is there and is undamaged."""
    try:
        with zipfile.ZipFile(file) as archive:
            return f"{_HEADER}.npy" in archive.namelist() and archive.testzip() is None
    except Exception:  # changed bytes end in errors of many types, and none is whole
        return False


def _octets(contents: bytes) -> np.ndarray:
    return np.frombuffer(contents, np.uint8)


def _plain(value: Any) -> Any:
    """Of NumPy's numbers and arrays, what JSON knows."""
    return value.tolist()


@contextlib.contextmanager
def _open(file: str | os.PathLike) -> Iterator[np.lib.npyio.NpzFile]:
    # Opened here, as `np.load` does not close an archive that it cannot read.
    with contextlib.ExitStack() as stack:
        stream = _read(file, lambda: stack.enter_context(open(file, "rb")))
        found = _read(file, lambda: np.load(stream, allow_pickle=False))
        if not isinstance(found, np.lib.npyio.NpzFile):
            raise _damaged(file, "no .npz archive")
        yield stack.enter_context(found)


def _read(file: str | os.PathLike, read) -> Any:
    try:
        return read()
    except Exception as error:  # changed bytes end in errors of many types
        raise _damaged(file, f"{type(error).__name__}: {error}") from error


def _damaged(file: str | os.PathLike, what: str) -> DatasetError:
    return DatasetError(
        f"{file}: the converted example is damaged ({what}). Prepare the data set again; it "
        "is then converted anew."
    )
