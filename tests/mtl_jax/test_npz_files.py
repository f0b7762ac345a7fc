"""Arrays in .npz files: what is damaged, or a stranger's, is one message and runs nothing."""

import io
import os
import zipfile

import numpy as np
import pytest

from mtl_jax.weights import npz_files
from mtl_jax.weights.npz_files import NpzError


class Loud:
    """What a pickle of it would run."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


def saved(path, *, compressed=False, **arrays):
    with path.open("wb") as file:
        (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return path


def test_what_was_saved_is_read(tmp_path):
    arrays = {"a/kernel": np.arange(6.0, dtype=np.float32).reshape(2, 3), "b": np.int64(3)}
    found = npz_files.read(saved(tmp_path / "x.npz", **arrays))
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("compressed", [False, True])
def test_changed_bytes_are_one_message(tmp_path, compressed):
    whole = saved(
        tmp_path / "x.npz", compressed=compressed, a=np.arange(40.0), b=np.ones((2, 3), np.float16)
    ).read_bytes()
    rng, file = np.random.default_rng(0), tmp_path / "y.npz"
    told = []
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 6)):
            damaged[place] = rng.integers(256)
        file.write_bytes(damaged[: rng.integers(1, len(whole))] if rng.random() < 0.2 else damaged)
        try:
            npz_files.read(file)
        except NpzError as error:
            told.append(str(error))
    assert len(told) > 100
    assert all(str(file) in message for message in told)


def header_of(shape) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "<f8", "fortran_order": False, "shape": shape}
    )
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("a.npy", header_of((1 << 50,))),  # more than any machine has
        ("a.npy", header_of((1 << 70, 0))),
        ("a.txt", b"no array"),
        ("a.npy", b"no array"),
        ("a.npy", b"\x93NUMPY\x01\x00\xff\xff{"),
    ],
)
def test_what_is_no_array_is_one_message(tmp_path, name, contents):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr(name, contents)
    with pytest.raises(NpzError, match=r"x\.npz cannot be read"):
        npz_files.read(tmp_path / "x.npz")


def test_what_would_fill_the_memory_is_not_unpacked(tmp_path):
    zeros = header_of((10 << 20,)) + bytes(80 << 20)
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("a.npy", zeros)
    with pytest.raises(NpzError, match=r"it unpacks to 0\.0781 GiB"):
        npz_files.read(tmp_path / "x.npz")


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NpzError, match=r"x\.npz cannot be read"):
        npz_files.read(saved(tmp_path / "x.npz", a=np.array([Loud()], object)))
    assert not (tmp_path / "ran").exists()
