"""Tensors from `.onnx` files: the graph's initialisers, read from the wire format of its messages.

The format is that of onnx.proto3 (github.com/onnx/onnx) in Protocol Buffers' encoding. Nothing of
the graph is built or run, and neither of the two packages is needed.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from mtl_jax.errors import UsageError

# Numbers of fields in onnx.proto3.
_GRAPH, _INITIALIZER = 7, 5
_DIMS, _TYPE, _FLOATS, _NAME, _RAW, _EXTERNAL = 1, 2, 4, 8, 9, 13
_FLOAT = 1
_DTYPES = {
    _FLOAT: np.float32,
    6: np.int32,
    7: np.int64,
    10: np.float16,
    11: np.float64,
    16: jnp.bfloat16,
}
_MAX_RANK, _MAX_LENGTH = 32, 1 << 48  # what NumPy makes of any shape with these
# Kinds of values on the wire.
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


class OnnxError(UsageError):
    """An `.onnx` file cannot be read; the message says which and why."""


def read(path: Path) -> dict[str, np.ndarray]:
    """The initialisers of a model's graph, by name.

    Returns:
      {name: array}, read-only. Those of types that no network's weights have (text, bools and the
      like) are left out.

    Raises:
      OnnxError: the file is damaged, or keeps its numbers in other files.
      OSError: it cannot be opened.
    """
    path = Path(path)
    content = memoryview(path.read_bytes())
    arrays = {}
    try:
        graphs = [_content(value) for field, value in _fields(content) if field == _GRAPH]
        if len(graphs) != 1:
            raise OnnxError(f"it has {len(graphs)} graphs; expected one")
        for field, value in _fields(graphs[0]):
            if field == _INITIALIZER:
                name, array = _tensor(_content(value))
                if array is not None:
                    arrays[name] = array
    except (OnnxError, UnicodeDecodeError) as error:
        raise OnnxError(f"{path} cannot be read: {error}.") from error
    return arrays


def _tensor(message: memoryview) -> tuple[str, np.ndarray | None]:
    """(name, array) of a TensorProto; None for an array of a type that is left out."""
    dims, kind, name, raw, floats = [], 0, "", None, []
    for field, value in _fields(message):
        if field == _DIMS:
            dims += [value] if isinstance(value, int) else list(_varints(value))
        elif field == _TYPE and isinstance(value, int):
            kind = value
        elif field == _NAME:
            name = bytes(_content(value)).decode()
        elif field == _RAW:
            raw = _content(value)
        elif field == _FLOATS:
            floats.append(_content(value))
        elif field == _EXTERNAL:
            raise OnnxError("it keeps its numbers in another file; expected them within")
    if kind not in _DTYPES or (raw is None and kind != _FLOAT):
        return name, None
    dtype = np.dtype(_DTYPES[kind])
    numbers = raw if raw is not None else b"".join(floats)
    if len(dims) > _MAX_RANK or max(dims, default=0) > _MAX_LENGTH:
        raise OnnxError(f"its tensor {name[:80]!r} has no possible shape: {str(dims)[:80]}")
    if len(numbers) != math.prod(dims) * dtype.itemsize:
        raise OnnxError(
            f"its tensor {name[:80]!r} of shape {tuple(dims)} and type {dtype} has "
            f"{len(numbers)} bytes, expected {math.prod(dims) * dtype.itemsize}"
        )
    return name, np.frombuffer(numbers, dtype).reshape(dims)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of every field: an int, or the bytes of anything else."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == _VARINT:
            value, position = _varint(message, position)
        else:
            if kind == _BYTES:
                length, position = _varint(message, position)
            elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
                length = 8 if kind == _EIGHT_BYTES else 4
            else:
                raise OnnxError("it is no ONNX model, or damaged")
            value, position = message[position : position + length], position + length
            if position > len(message):
                raise OnnxError("it is cut off, or no ONNX model")
        yield tag >> 3, value


def _content(value: int | memoryview) -> memoryview:
    """The bytes of a field that has some. Raises OnnxError if it is a number."""
    if isinstance(value, int):
        raise OnnxError("it is no ONNX model, or damaged")
    return value


def _varints(message: memoryview) -> Iterator[int]:
    position = 0
    while position < len(message):
        value, position = _varint(message, position)
        yield value


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """(an integer of up to ten bytes, seven bits each and the lowest first; the position after)."""
    value = 0
    for shift in range(0, 70, 7):
        if position == len(message):
            raise OnnxError("it is cut off, or no ONNX model")
        byte, position = message[position], position + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise OnnxError("it is no ONNX model, or damaged")
