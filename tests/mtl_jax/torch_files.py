"""Writers of PyTorch's two checkpoint layouts, opcode by opcode, so that tests need no PyTorch."""

import dataclasses
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {"float32": "Float", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long"}


@dataclasses.dataclass(frozen=True)
class Name:
    """GLOBAL: something that the pickle only names."""

    module: str
    name: str


@dataclasses.dataclass(frozen=True)
class Call:
    """REDUCE: function(*arguments), then BUILD with a state unless that is None."""

    function: Any
    arguments: tuple
    state: Any = None


@dataclasses.dataclass(frozen=True)
class Persistent:
    """BINPERSID."""

    id: tuple


def pickled(value: Any) -> bytes:
    """A pickle of protocol 2."""
    return b"\x80\x02" + encode(value) + b"."


def encode(value: Any) -> bytes:
    """The opcodes that put `value` on the stack."""
    match value:
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int() if 0 <= value < 1 << 31:
            return b"J" + struct.pack("<i", value)
        case int():
            digits = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(digits)]) + digits
        case str():
            text = value.encode()
            return b"X" + struct.pack("<I", len(text)) + text
        case tuple():
            return b"(" + b"".join(map(encode, value)) + b"t"
        case list():
            return b"](" + b"".join(map(encode, value)) + b"e"
        case dict():
            return b"}(" + b"".join(encode(k) + encode(v) for k, v in value.items()) + b"u"
        case Name():
            return f"c{value.module}\n{value.name}\n".encode()
        case Call():
            call = encode(value.function) + encode(value.arguments) + b"R"
            return call if value.state is None else call + encode(value.state) + b"b"
        case Persistent():
            return encode(value.id) + b"Q"
    raise TypeError(type(value))


def tensor(key: str, array: np.ndarray, *, legacy: bool, **changes) -> Call:
    """What stands for an array in a pickle; `changes` replace offset, shape, strides or size."""
    strides = tuple(step // array.itemsize for step in array.strides)
    told = {"offset": 0, "shape": array.shape, "strides": strides, "size": array.size} | changes
    kind = Name("torch", STORAGES[array.dtype.name] + "Storage")
    id_ = ("storage", kind, key, "cpu", told["size"]) + ((None,) if legacy else ())
    arguments = (Persistent(id_), told["offset"], told["shape"], told["strides"], False)
    hooks = Call(Name("collections", "OrderedDict"), ())
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), (*arguments, hooks))


def state_dict(arrays: dict[str, np.ndarray], *, legacy: bool) -> bytes:
    """The pickle of an OrderedDict with PyTorch's `_metadata`; array k is storage 'k'."""
    items = b"".join(
        encode(name) + encode(tensor(str(k), array, legacy=legacy))
        for k, (name, array) in enumerate(arrays.items())
    )
    metadata = encode({"_metadata": {"": {"version": 1}}})
    empty = encode(Call(Name("collections", "OrderedDict"), ()))
    return b"\x80\x02" + empty + b"(" + items + b"u" + metadata + b"b."


def write_zip(path: Path, pickle: bytes, storages: dict[str, bytes], **others: bytes) -> Path:
    """The layout of PyTorch 1.6 and later."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle)
        archive.writestr("archive/version", b"3\n")
        for name, content in others.items():
            archive.writestr(f"archive/{name}", content)
        for key, content in storages.items():
            archive.writestr(f"archive/data/{key}", content)
    return path


def write_legacy(
    path: Path, pickle: bytes, storages: dict[str, np.ndarray], *, little_endian: bool = True
) -> Path:
    """The layout before."""
    facts = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {"int": 4}}
    parts = [pickled(MAGIC), pickled(1001), pickled(facts), pickle, pickled(list(storages))]
    for array in storages.values():
        parts += [struct.pack("<q", array.size), array.tobytes()]
    path.write_bytes(b"".join(parts))
    return path


def save(path: Path, arrays: dict[str, np.ndarray], *, legacy: bool = False) -> Path:
    """What `torch.save(state_dict, path)` writes."""
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    pickle = state_dict(arrays, legacy=legacy)
    storages = {str(k): array for k, array in enumerate(arrays.values())}
    if legacy:
        return write_legacy(path, pickle, storages)
    return write_zip(path, pickle, {key: array.tobytes() for key, array in storages.items()})
