"""Tensors from PyTorch's `.pth` files, without PyTorch and without running what is in them.

Two layouts are read:

* zip, written by PyTorch 1.6 and later: `<name>/data.pkl` and one uncompressed entry
  `<name>/data/<key>` for each storage;
* legacy, written by PyTorch 0.1.10 to 1.5 and by `_use_new_zipfile_serialization=False`: pickles of
  a magic number, the protocol 1001, facts about the machine, the object, and the storages' keys;
  then each storage as its number of elements and its bytes.

The still older tar layout, TorchScript archives and pickled modules are refused by name.
"""

import io
import math
import mmap
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from mtl_jax.errors import UsageError
from mtl_jax.weights._torch_pickle import Buildable, PickleError, load, set_items

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# What `zipfile` raises for damaged archives, found by damaging them.
_ZIP_ERRORS = (zipfile.BadZipFile, RuntimeError, ValueError, OSError, EOFError, struct.error)
# Checkpoints of training have the state_dict in an entry of this name, beside an optimizer's state.
_WRAPPERS = ("model", "state_dict", "teacher")
_MAX_RANK = 32
_MAX_ELEMENTS = 1 << 48  # of a view, which repeats elements where a stride is 0


class TorchCheckpointError(UsageError):
    """A `.pth` file cannot be read; the message says which, why, and what to do."""


def read(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a saved `state_dict`, by name; also of one within a checkpoint of training.

    Args:
      path: of a `.pth` file in the zip or the legacy layout.

    Returns:
      {name: array} in the file's order, shapes and types (bfloat16 as `jnp.bfloat16`). The arrays
      are read-only and may share memory, also with the file.

    Raises:
      TorchCheckpointError: the file is damaged, of another layout, or holds anything besides
        tensors and plain containers.
      OSError: it cannot be opened.
    """
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(512)
        try:
            if head.startswith(b"PK\x03\x04"):
                return _arrays(*_read_zip(file))
            if head.startswith(b"\x80"):
                return _arrays(*_read_legacy(file))
            raise TorchCheckpointError(_describe_foreign(head))
        except (PickleError, TorchCheckpointError) as error:
            raise TorchCheckpointError(f"{path} cannot be read: {error}.") from error


def _describe_foreign(head: bytes) -> str:
    """Why a file of these first bytes is no checkpoint that we read."""
    if head[257:262] == b"ustar":
        return (
            "it is in the tar layout of PyTorch before 0.1.10. Take the newer file of the same "
            "network, or load and save it once with PyTorch"
        )
    if head.lstrip()[:1] == b"<":
        return "it is a web page; the download went wrong"
    if head.startswith(b"version https://git-lfs"):
        return "it is a pointer of git-lfs and not the file itself; run `git lfs pull`"
    return f"it begins with {head[:8]!r}, which no .pth file does (expected a zip or a pickle)"


# What a pickle's names stand for. Any arguments may come; nothing here acts beyond its own values.


@dataclass(frozen=True)
class _Storage:
    """`length` elements from `start` of the storage `key`, which has `size` elements."""

    key: str
    dtype: np.dtype
    size: int
    start: int
    length: int


@dataclass
class _Tensor(Buildable):
    """A view of a storage, in elements; None until a pickle of an old Parameter is built."""

    view: tuple[_Storage, int, tuple[int, ...], tuple[int, ...]] | None = None

    def build(self, state: Any) -> None:
        """Takes what PyTorch's `Parameter` and `Variable` pickled in their several versions."""
        if type(state) is tuple and len(state) == 5 and isinstance(state[0], _Tensor):
            self.view = state[0].view  # data, gradient, hooks, flags
        elif type(state) is not tuple or len(state) != 3:  # flags and hooks alone
            raise PickleError("it gives a tensor a state of unknown form")


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_) -> _Tensor:
    shape, strides = _tuple(shape), _tuple(strides)
    if (
        not isinstance(storage, _Storage)
        or len(shape) != len(strides)
        or len(shape) > _MAX_RANK
        or not _natural(offset, *shape, *strides)
        or math.prod(max(n, 1) for n in shape) > _MAX_ELEMENTS
    ):
        raise PickleError("it has a tensor whose storage, offset, shape or strides make no sense")
    end = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) + 1
    if 0 not in shape and end > storage.length:
        raise PickleError(
            f"it has a tensor of shape {shape} that reaches element {end} of a storage of "
            f"{storage.length}"
        )
    return _Tensor((storage, offset, shape, strides))


def _rebuild_parameter(data: Any = None, *_) -> _Tensor:
    if not (data is None or isinstance(data, _Tensor)):
        raise PickleError(f"it has a parameter that is a {type(data).__name__}, not a tensor")
    return data or _Tensor()


def _ordered_dict(pairs: Any = ()) -> OrderedDict:
    result: OrderedDict = OrderedDict()
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise PickleError("it has an OrderedDict of something other than pairs")
        set_items(result, list(pair))
    return result


def _tuple(value: Any) -> tuple:
    return tuple(value) if isinstance(value, list | tuple) else (None,)


def _natural(*values: Any) -> bool:
    """Whether all are integers from 0 to 2⁶² (whose products Python still computes at once)."""
    return all(type(value) is int and 0 <= value < 1 << 62 for value in values)


_STORAGES = {
    "Double": np.float64,
    "Float": np.float32,
    "Half": np.float16,
    "BFloat16": jnp.bfloat16,
    "Long": np.int64,
    "Int": np.int32,
    "Short": np.int16,
    "Char": np.int8,
    "Byte": np.uint8,
    "Bool": np.bool_,
}
_NAMES = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch.nn.parameter.Parameter": _rebuild_parameter,
} | {f"torch.{name}Storage": np.dtype(dtype) for name, dtype in _STORAGES.items()}


def _storage(persistent_id: Any) -> _Storage:
    """('storage', type, key, device, size[, None or (view's key, start, length)]) ─► _Storage."""
    fields = _tuple(persistent_id)
    if len(fields) in (5, 6):
        kind, dtype, key, _, size = fields[:5]
        view = fields[5] if len(fields) == 6 and fields[5] is not None else (None, 0, size)
        # Of another form, -1: no natural number.
        start, length = view[1:] if isinstance(view, tuple) and len(view) == 3 else (-1, -1)
        if (
            kind == "storage"
            and isinstance(dtype, np.dtype)
            and isinstance(key, str)
            and _natural(size, start, length)
            and start + length <= size
        ):
            return _Storage(key, dtype, size, start, length)
    raise PickleError("it refers to a storage in a form that PyTorch does not write")


# The two layouts. Each gives the object and a function that reads a storage's bytes.

_Loaded = tuple[Any, Callable[[_Storage], bytes | memoryview]]


def _read_zip(file: Any) -> _Loaded:
    try:
        archive = zipfile.ZipFile(file)
    except _ZIP_ERRORS as error:
        raise TorchCheckpointError(f"its zip directory is damaged or cut off ({error})") from error
    names = archive.namelist()
    roots = [name.removesuffix("data.pkl") for name in names if name.split("/")[1:] == ["data.pkl"]]
    if len(roots) != 1:
        raise TorchCheckpointError(
            f"it is a zip file with {len(roots)} entries <name>/data.pkl; a checkpoint has one"
        )
    root = roots[0]
    if root + "constants.pkl" in names:
        raise TorchCheckpointError(
            "it is a TorchScript archive; save the module's state_dict() instead"
        )
    if root + "byteorder" in names and _entry(archive, root + "byteorder") != b"little":
        raise TorchCheckpointError("it was written on a big-endian machine, which is not supported")
    value = load(io.BytesIO(_entry(archive, root + "data.pkl")), _NAMES, _storage)
    return value, lambda storage: _entry(archive, f"{root}data/{storage.key}")


def _entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """The bytes of an entry, whose CRC-32 is checked."""
    if name not in archive.NameToInfo:
        raise TorchCheckpointError(f"its entry {name} is missing")
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise TorchCheckpointError(f"its entry {name} is compressed, which PyTorch never does")
    try:
        return archive.read(name)
    except _ZIP_ERRORS as error:
        raise TorchCheckpointError(f"its entry {name} is damaged or cut off ({error})") from error


def _read_legacy(file: Any) -> _Loaded:
    stream = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    storages: dict[str, _Storage] = {}

    def persistent(persistent_id: Any) -> _Storage:
        storage = _storage(persistent_id)
        known = storages.setdefault(storage.key, storage)
        if (known.dtype, known.size) != (storage.dtype, storage.size):
            raise PickleError(f"it gives storage {storage.key!r} two types or sizes")
        return storage

    if load(stream, {}, _storage) != _MAGIC or load(stream, {}, _storage) != _PROTOCOL:
        raise TorchCheckpointError("it is a pickle that torch.save did not write")
    facts = load(stream, {}, _storage)
    if not isinstance(facts, dict) or facts.get("little_endian") is not True:
        raise TorchCheckpointError("it was written on a big-endian machine, which is not supported")
    value = load(stream, _NAMES, persistent)
    keys = load(stream, {}, _storage)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise TorchCheckpointError("its list of storages is not one")
    data, position, content = {}, stream.tell(), memoryview(stream)
    for key in keys:
        if key not in storages:
            raise TorchCheckpointError(f"it has a storage {key!r} that no tensor uses")
        size, dtype = storages[key].size, storages[key].dtype
        start, end = position + 8, position + 8 + size * dtype.itemsize
        if end > len(content):
            raise TorchCheckpointError(
                f"it is cut off: {len(content)} bytes, storage {key!r} ends at {end}"
            )
        if int.from_bytes(content[position:start], "little") != size:
            raise TorchCheckpointError(f"its storage {key!r} is not of the {size} elements told")
        data[key], position = content[start:end], end
    return value, lambda storage: data.get(storage.key, b"")


def _byte_steps(shape: tuple, strides: tuple, itemsize: int) -> list[int]:
    """Strides in bytes; 0 where nothing is beyond the first element, as it may be any number."""
    used = 0 not in shape
    return [step * itemsize if used and n > 1 else 0 for n, step in zip(shape, strides)]


def _arrays(value: Any, read_bytes: Callable[[_Storage], Any]) -> dict[str, np.ndarray]:
    """{name: array} of a flat dict of tensors."""
    if not isinstance(value, dict):
        raise TorchCheckpointError(
            f"it holds a {type(value).__name__}; expected a state_dict, {{name: tensor}}"
        )
    wrapped = [value[key] for key in _WRAPPERS if isinstance(value.get(key), dict)]
    if len(wrapped) == 1 and not any(isinstance(entry, _Tensor) for entry in value.values()):
        (value,) = wrapped
    contents: dict[str, Any] = {}
    arrays = {}
    for name, tensor in value.items():
        if not isinstance(tensor, _Tensor) or tensor.view is None:
            raise TorchCheckpointError(
                f"its entry {str(name)[:80]!r} is a {type(tensor).__name__}, not a tensor. Expected"
                " a state_dict, {name: tensor}; save model.state_dict() alone"
            )
        storage, offset, shape, strides = tensor.view
        if storage.key not in contents:
            contents[storage.key] = read_bytes(storage)
        content = contents[storage.key]
        expected = storage.size * storage.dtype.itemsize
        if len(content) != expected:
            raise TorchCheckpointError(
                f"the storage of {str(name)[:80]!r} has {len(content)} bytes, expected {expected}"
            )
        elements = np.frombuffer(content, storage.dtype)[storage.start :][: storage.length]
        arrays[str(name)] = np.lib.stride_tricks.as_strided(
            elements[offset:],  # `_rebuild_tensor` has checked the bounds
            shape,
            _byte_steps(shape, strides, elements.itemsize),
        )
    return arrays
