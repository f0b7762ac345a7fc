"""VGG-16's convolutions from an ONNX model, written here field by field."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_pretrained import fcn_config, load

from mtl_jax.weights import onnx_files, published, safetensors_files, vgg16


def varint(value: int) -> bytes:
    head = []
    while value > 127:
        head.append(value & 127 | 128)
        value >>= 7
    return bytes([*head, value])


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(name: str, array: np.ndarray, *, raw: bool = True, packed: bool = True) -> bytes:
    kinds = {"float32": 1, "int64": 7, "float16": 10, "float64": 11}
    dims = b"".join(map(varint, array.shape))
    message = field(1, dims) if packed else b"".join(field(1, n) for n in array.shape)
    message += field(2, kinds[str(array.dtype)]) + field(8, name.encode())
    return message + field(9 if raw else 4, array.tobytes())


def model(*tensors: bytes) -> bytes:
    graph = field(1, b"a node") + b"".join(field(5, each) for each in tensors)
    return field(1, 9) + field(2, b"tests") + field(7, graph)


def vgg(width: int = 64) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays, inputs = {}, 3
    for block, (layers, factor) in enumerate(((2, 1), (2, 2), (3, 4), (3, 8), (3, 8)), 1):
        for layer in range(1, layers + 1):
            name, outputs = f"functional_1/block{block}_conv{layer}_1", factor * width
            shape = (outputs, inputs, 3, 3)
            kernel = rng.integers(-9, 9, shape).astype(np.float32)
            arrays[f"{name}/convolution/ReadVariableOp:0"] = kernel
            bias = rng.integers(-9, 9, outputs).astype(np.float32)
            arrays[f"{name}/Squeeze:0"] = bias
            inputs = outputs
    return arrays


@pytest.mark.parametrize("options", [{}, {"raw": False}, {"packed": False}])
def test_initialisers(tmp_path, options):
    arrays = {
        "a": np.arange(300, dtype=np.float32).reshape(150, 2),
        "b:0": np.array([1.5], np.float32),
    }
    path = tmp_path / "a.onnx"
    half = tensor("half", np.array([0.5], np.float16))
    content = model(*(tensor(n, a, **options) for n, a in arrays.items()), half)
    path.write_bytes(content)
    found = onnx_files.read(path)
    assert found.pop("half").dtype == np.float16
    assert list(found) == ["a", "b:0"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_damaged_models(tmp_path):
    path = tmp_path / "a.onnx"
    whole = model(tensor("a", np.ones((4, 4), np.float32)))
    for content, message in (
        (b"", "has 0 graphs"),
        (whole[:-3], "cut off"),
        (b"\x0f" + whole, "no ONNX model"),
        (whole + b"\xff" * 12, "no ONNX model"),
        (model(field(1, 5) + field(2, 1) + field(8, b"a") + field(9, b"1234")), "expected 20"),
        (model(field(8, b"a") + field(13, b"elsewhere")), "numbers in another file"),
        # Numbers where bytes belong: `bytes` of one would be as long as it says.
        (field(7, 1 << 62), "no ONNX model"),
        (field(7, field(5, 1 << 62)), "no ONNX model"),
        *((model(field(number, 1 << 62)), "no ONNX model") for number in (4, 8, 9)),
        (model(field(1, varint(1 << 63) + b"\0") + field(2, 1) + field(9, b"")), "no possible"),
        (model(field(1, b"\1" * 99) + field(2, 1) + field(9, b"1234")), "no possible shape"),
        (model(field(8, b"\xff")), "utf-8"),
    ):
        path.write_bytes(content)
        with pytest.raises(onnx_files.OnnxError, match=f"a.onnx cannot be read: .*{message}"):
            onnx_files.read(path)


def test_changed_bytes_are_one_message(tmp_path):
    whole = model(tensor("a", np.ones((2, 3), np.float32)), tensor("b", np.ones(2), raw=False))
    rng, path, refused = np.random.default_rng(0), tmp_path / "a.onnx", 0
    for _ in range(500):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            onnx_files.read(path)
        except onnx_files.OnnxError:
            refused += 1
    assert refused > 100


@pytest.mark.slow
def test_the_example_says_what_is_wrong_in_a_line(tmp_path):
    example = Path(__file__).parents[2] / "examples/convert_vgg16_onnx.py"
    (tmp_path / "a.onnx").write_bytes(b"\x0f")
    for source in ("a.onnx", "none.onnx"):
        command = [sys.executable, example, tmp_path / source, tmp_path / "b.safetensors"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=example.parents[1])
        (line,) = done.stderr.strip().splitlines()
        assert done.returncode == 1
        assert str(tmp_path / source) in line


def test_the_convolutions_are_torchvisions_for_red_green_and_blue(tmp_path):
    arrays = vgg()
    path, target = tmp_path / "a.onnx", tmp_path / "vgg16.safetensors"
    unrelated = tensor("functional_1/dense_1/Cast/ReadVariableOp:0", np.ones((2, 3), np.float32))
    path.write_bytes(model(unrelated, *(tensor(n, a) for n, a in reversed(arrays.items()))))
    vgg16.from_onnx(path, target)
    found = safetensors_files.read(target)
    assert sum(array.size for array in found.values()) == 14_714_688
    places = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    assert list(found) == [f"features.{p}.{leaf}" for p in places for leaf in ("weight", "bias")]
    for name, expected in zip(found, arrays.values(), strict=True):
        if name == "features.0.weight":
            expected = expected[:, [2, 1, 0]]
        np.testing.assert_array_equal(found[name], expected, err_msg=name)
    model_config = fcn_config("vgg")
    model_config.encoder.width = 64
    loaded, said = load(model_config, target)
    kernel = arrays["functional_1/block1_conv1_1/convolution/ReadVariableOp:0"]
    # What the original gives for a pixel of blue 3, green 2, red 1.
    np.testing.assert_allclose(
        np.einsum("hwio,i->hwo", loaded["params/encoder/features_0/kernel"], [1.0, 2.0, 3.0]),
        np.einsum("oihw,i->hwo", kernel, [3.0, 2.0, 1.0]),
    )
    assert "being outside the encoder: params/classifier/fc6" in said
    mean, std = np.array(vgg16.IMAGE_MEAN), np.array(vgg16.IMAGE_STD)
    pixel = np.array([200.0, 100.0, 50.0])
    np.testing.assert_allclose((pixel / 255 - mean) / std, pixel - [123.68, 116.779, 103.939])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.popitem(), r"a bias of \(512,\) for block5_conv3, found none"),
        (
            lambda arrays: arrays.update(vgg(32)),
            r"a weight of \(64, 3, 3, 3\) for block1_conv1, found one of \(32, 3, 3, 3\)",
        ),
    ],
)
def test_other_models(change, message):
    arrays = vgg()
    change(arrays)
    with pytest.raises(published.PretrainedError, match=f"a.onnx has no VGG-16: .*{message}"):
        vgg16.convert(arrays, origin="a.onnx")


def test_layers_that_were_trained_further_are_named():
    arrays = vgg16.convert(vgg(), origin="a.onnx")
    everything = list(arrays)
    assert sorted(vgg16.trained_on(arrays)) == sorted(everything)
    for leaf, firsts in vgg16._ORIGINAL.items():
        names = [name for name in everything if name.endswith(leaf)]
        for name, first in zip(names, firsts, strict=True):
            arrays[name] = arrays[name].copy()
            arrays[name].flat[0] = first
    assert vgg16.trained_on(arrays) == []
    arrays["features.7.bias"].flat[0] += 1e-3
    assert vgg16.trained_on(arrays) == ["features.7.bias"]
