"""Tensors in `.safetensors` files: eight bytes of length, a JSON header, then the numbers.

The format is Hugging Face's (github.com/huggingface/safetensors). Read and written here
and not by its package because NumPy's side of that knows no bfloat16.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from mtl_jax import _files
from mtl_jax.errors import UsageError

_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_MAX_HEADER = 100_000_000  # bytes, the format's own limit
_MAX_RANK = 32
_MAX_ELEMENTS = 1 << 48  # of a shape without its zeros; NumPy's own limit, on bytes, is 2⁶³


class SafetensorsError(UsageError):
    """A `.safetensors` file cannot be read; the message says which and why."""


def read(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a file, by name.

    Returns:
      {name: array} in the file's order, read-only and mapped from the file.

    Raises:
      SafetensorsError: the file is damaged or has a type of number that is not known here.
      OSError: it cannot be opened.
    """
    path = Path(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, _MAX_HEADER):
            raise SafetensorsError(
                f"{path} cannot be read: its first 8 bytes tell of a header of {length} bytes in a "
                f"file of {size}. It is cut off, or no .safetensors file."
            )
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise SafetensorsError(f"{path} cannot be read: its header is no JSON.") from error
    if not isinstance(header, dict):
        raise SafetensorsError(f"{path} cannot be read: its header is no JSON object.")
    header.pop("__metadata__", None)
    start = 8 + length
    content = np.memmap(path, np.uint8, "r", start) if size > start else np.zeros(0, np.uint8)
    return {name: _array(path, name, facts, content) for name, facts in header.items()}


def write(
    path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, str] | None = None
) -> None:
    """Writes a file of these tensors.

    Args:
      path: is replaced if it exists.
      arrays: {name: array} of the types that `read` knows.
      about: what the header says besides, {key: text}.

    Raises:
      SafetensorsError: an array has a type of number that the format lacks.
      OSError: the file cannot be written.
    """
    names = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": dict(about)} if about else {}
    contents, position = [], 0
    for name, array in arrays.items():
        if array.dtype not in names:
            raise SafetensorsError(
                f"{path} cannot be written: the tensor {name!r} is of {array.dtype}; expected one "
                f"of {', '.join(map(str, names))}."
            )
        content = array.tobytes()
        offsets = [position, position + len(content)]
        header[name] = {
            "dtype": names[array.dtype],
            "shape": list(array.shape),
            "data_offsets": offsets,
        }
        contents.append(content)
        position = offsets[1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # numbers begin at a multiple of eight
    with _files.replacing(Path(path)) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.writelines(contents)


def _array(path: Path, name: str, facts: Any, content: np.ndarray) -> np.ndarray:
    """The array that the header's entry `facts` describes, of the bytes `content`."""
    try:
        dtype, shape = np.dtype(_DTYPES[facts["dtype"]]), tuple(facts["shape"])
        begin, end = facts["data_offsets"]
        whole = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
        possible = (
            whole
            and len(shape) <= _MAX_RANK
            and math.prod(max(n, 1) for n in shape) <= _MAX_ELEMENTS
        )
        fits = possible and end <= content.size and end - begin == math.prod(shape) * dtype.itemsize
    except (KeyError, TypeError, ValueError):
        fits = False
    if not fits:
        raise SafetensorsError(
            f"{path} cannot be read: its tensor {name[:80]!r} is told to be {str(facts)[:200]}, "
            f"which does not fit {content.size} bytes of numbers, or is no possible shape, or of "
            f"a type other than {', '.join(_DTYPES)}."
        )
    return content[begin:end].view(dtype).reshape(shape)
