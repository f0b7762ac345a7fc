"""Records decode to what TFDS makes of them, whatever their features are stored as."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from input_pipeline import _decoding, _philox
from input_pipeline._tensorflow import tf, tfds

SIZE = (6, 10)


def _features():
    image, tensor = tfds.features.Image, tfds.features.Tensor
    return tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "jpeg": image(shape=(*SIZE, 3), encoding_format="jpeg"),
            "png": image(shape=(*SIZE, 3), encoding_format="png"),
            "grey": image(shape=(None, None, 1), encoding_format="png"),
            "sixteen": image(shape=(*SIZE, 1), dtype=np.uint16, encoding_format="png"),
            "float": image(shape=(*SIZE, 1), dtype=np.float32, encoding_format="png"),
            "half": tensor(shape=SIZE, dtype=np.float16, encoding="zlib"),
            "raw": tensor(shape=(*SIZE, 3), dtype=np.float32, encoding="bytes"),
            "any": tensor(shape=(None, None), dtype=np.uint16, encoding="zlib"),
            "plain": tensor(shape=SIZE, dtype=np.int32),
        }
    )


def _example():
    rng = np.random.default_rng(0)
    bytes_ = rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    return {
        "id": "one",
        "jpeg": bytes_,
        "png": bytes_,
        "grey": bytes_[..., :1],
        "sixteen": rng.integers(0, 65536, (*SIZE, 1)).astype(np.uint16),
        "float": rng.normal(size=(*SIZE, 1)).astype(np.float32),
        "half": rng.normal(size=SIZE).astype(np.float16),
        "raw": rng.normal(size=(*SIZE, 3)).astype(np.float32),
        "any": rng.integers(0, 65536, SIZE).astype(np.uint16),
        "plain": rng.integers(0, 9, SIZE).astype(np.int32),
    }


def _record(**changes) -> bytes:
    return _features().serialize_example(_example() | changes)


def test_every_feature_is_what_tfds_decodes():
    record, features = _record(), _features()
    keys = [key for key in features if key != "id"]
    found = _decoding.Decoder(features, keys)(record)
    expected = features.deserialize_example(record)
    assert set(found) == set(keys)
    for key in keys:
        assert found[key].dtype == features[key].np_dtype, key
        np.testing.assert_array_equal(found[key], expected[key].numpy(), err_msg=key)


def _png(mode: str) -> io.BytesIO:
    levels = (np.arange(np.prod(SIZE)).reshape(SIZE) % 251).astype(np.uint8)
    image = Image.fromarray(levels).convert(mode)
    if mode == "P":
        image.putpalette([*range(0, 240, 5)] * 16)
    file = io.BytesIO()
    image.save(file, format="PNG")
    return io.BytesIO(file.getvalue())


def _grey_png(bits: int) -> io.BytesIO:
    """Of levels that share a byte, or take two, which Pillow does not write."""
    rng = np.random.default_rng(bits)
    rows = rng.integers(0, 256, (SIZE[0], -(-SIZE[1] * bits // 8))).astype(np.uint8)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)  # none of them is filtered
    header = struct.pack(">IIBBBBB", SIZE[1], SIZE[0], bits, 0, 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")):
        file += struct.pack(">I", len(data)) + kind + data
        file += struct.pack(">I", zlib.crc32(kind + data))
    return io.BytesIO(file)


_PNGS = {mode: _png(mode) for mode in ("L", "P", "LA", "RGB")}
_PNGS |= {f"{bits} bits": _grey_png(bits) for bits in (1, 2, 4, 16)}


@pytest.mark.parametrize("kind", _PNGS)
def test_a_png_of_another_kind_is_what_tfds_decodes(kind):
    """Bytes are stored as they are given, so a record may hold any of them."""
    record, features = _record(grey=_PNGS[kind]), _features()
    found = _decoding.Decoder(features, ["grey"])(record)["grey"]
    np.testing.assert_array_equal(found, features.deserialize_example(record)["grey"].numpy())


@pytest.mark.parametrize(
    ("key", "data", "error"),
    [
        ("grey", b"\x89PNG\r\n\x1a\n", tf.errors.InvalidArgumentError),
        ("jpeg", b"no image", tf.errors.InvalidArgumentError),
        ("half", b"no stream", zlib.error),
        ("half", zlib.compress(b"short"), ValueError),
        ("raw", None, ValueError),
    ],
)
def test_what_is_damaged_is_an_error(key, data, error):
    example = tf.train.Example.FromString(_record())
    del example.features.feature[key].bytes_list.value[:]
    example.features.feature[key].bytes_list.value.extend([data] * (data is not None))
    with pytest.raises(error):
        _decoding.Decoder(_features(), [key])(example.SerializeToString())


@pytest.mark.parametrize("key", [(0, 0), (2**64 - 1, 7), (np.int64(3), np.int64(2**62))])
def test_numbers_are_those_of_numpys_philox(key):
    for counter in (0, 1 << 192, (1 << 64) - 1):
        expected = np.random.Philox(key=np.array(key, np.uint64), counter=counter).random_raw(9)
        assert _philox.raw(key, counter, 9) == expected.tolist()
