"""Reading `.safetensors` files, written here by the format's description."""

import json
import struct
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from mtl_jax.errors import UsageError
from mtl_jax.weights import safetensors_files
from mtl_jax.weights.safetensors_files import SafetensorsError

DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64"}


def save(path: Path, arrays: dict[str, np.ndarray], **changes) -> Path:
    """Writes a file; `changes` replace facts of the first tensor."""
    header, content = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        begin, content = len(content), content + array.tobytes()
        offsets = [begin, len(content)]
        kind = DTYPES[array.dtype.name]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": offsets}
    header[next(iter(arrays))] |= changes
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)
    return path


ARRAYS = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "half": np.array([1.5], np.float16),
    "bfloat16": np.array([0.15625, 3], jnp.bfloat16),
    "scalar": np.array(7, np.int64),
    "empty": np.zeros((0, 2), np.float32),
}


def test_reads_all_types(tmp_path):
    found = safetensors_files.read(save(tmp_path / "a.safetensors", ARRAYS))
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_reads_a_file_without_numbers(tmp_path):
    found = safetensors_files.read(save(tmp_path / "a.safetensors", {"e": ARRAYS["empty"]}))
    assert found["e"].shape == (0, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [3, 3]},
        {"shape": [-2, -3]},
        {"shape": [2.0, 3]},
        {"shape": 6},
        {"shape": [1] * 100, "data_offsets": [0, 4]},
        {"shape": [1 << 70, 0], "data_offsets": [0, 0]},
        {"shape": [1 << 40, 1 << 40, 0], "data_offsets": [0, 0]},
        {"data_offsets": [0, 23]},
        {"data_offsets": [-24, 0]},
        {"data_offsets": [1000, 1024]},
        {"data_offsets": [0]},
        {"dtype": "F8_E4M3"},
        {"dtype": ["F32"]},
        {"dtype": "F16"},
    ],
    ids=str,
)
def test_refuses_a_tensor_that_does_not_fit(tmp_path, changes):
    path = save(tmp_path / "a.safetensors", ARRAYS, **changes)
    with pytest.raises(SafetensorsError, match=r"a\.safetensors.*'a\.weight'"):
        safetensors_files.read(path)


def test_refuses_a_file_cut_off_anywhere(tmp_path):
    path = save(tmp_path / "a.safetensors", {"a": ARRAYS["a.weight"]})
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(SafetensorsError, match=r"a\.safetensors cannot be read"):
            safetensors_files.read(path)


@pytest.mark.parametrize("text", [b"{}}", b"[]", b"\xff\xfe{}", b"[" * 100_000], ids=len)
def test_refuses_a_header_that_is_no_object(tmp_path, text):
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(UsageError, match="header is no JSON"):
        safetensors_files.read(path)


def test_writes_what_it_reads(tmp_path):
    path = tmp_path / "a.safetensors"
    safetensors_files.write(path, ARRAYS, {"about": "é"})
    found = safetensors_files.read(path)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
    length = int.from_bytes(path.read_bytes()[:8], "little")
    assert length % 8 == 0
    assert json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"] == {"about": "é"}
    with pytest.raises(SafetensorsError, match=r"cannot be written: the tensor 'c' is of complex"):
        safetensors_files.write(path, {"c": np.zeros(2, np.complex64)})
