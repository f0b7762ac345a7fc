"""A record of TFDS ─► NumPy arrays, to the last value those that TFDS decodes by TensorFlow.

TFDS parses and decodes in a graph. Taking the bytes out of the record and giving each to what is
fastest at it takes two thirds of that time, and half of it for small images. JPEG stays
TensorFlow's: decoders differ by a few grey levels, and runs go on with what they began with.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from input_pipeline._tensorflow import tf, tfds

_PNG = b"\x89PNG\r\n\x1a\n"
_GREY, _DEPTHS = 0, {8: np.uint8, 16: np.uint16}
_ENCODINGS: dict[str, Callable[[bytes, int], bytes]] = {
    "bytes": lambda data, size: data,
    "zlib": lambda data, size: zlib.decompress(data, bufsize=size),
}


class Decoder:
    """Decodes some features of the records of a data set."""

    def __init__(self, features: tfds.features.FeaturesDict, keys: Sequence[str]):
        """Looks at how each is stored.

        Args:
          features: of the data set.
          keys: those wanted.
        """
        self._own = {key: how for key in keys if (how := _how(features[key])) is not None}
        # What is stored in any other way is left to TFDS.
        rest = dict.fromkeys([key for key in keys if key not in self._own], True)
        partial = tfds.decode.PartialDecoding(rest)
        self._rest = partial.extract_features(features) if rest else None

    def __call__(self, record: bytes) -> dict[str, np.ndarray]:
        """{key: array} of a serialized `tf.train.Example`, in the types and shapes of TFDS.

        Raises:
          ValueError, zlib.error, tf.errors.OpError: it is damaged.
        """
        stored = tf.train.Example.FromString(record).features.feature
        found = {}
        for key, decode in self._own.items():
            values = stored[key].bytes_list.value
            if len(values) != 1:
                raise ValueError(f"{key!r}: expected one value in the record, found {len(values)}.")
            found[key] = decode(values[0])
        if self._rest is not None:
            rest = self._rest.deserialize_example(record)
            found |= {key: value.numpy() for key, value in rest.items()}
        return found


def _how(feature: Any) -> Callable[[bytes], np.ndarray] | None:
    """What decodes a feature, where its bytes say it all."""
    dtype, shape = np.dtype(feature.np_dtype), feature.shape
    if isinstance(feature, tfds.features.Image) and dtype in _DEPTHS.values():
        return lambda data: _image(data, dtype, shape[-1])
    if type(feature) is tfds.features.Tensor and None not in shape:
        unpack = _ENCODINGS.get(feature.to_json_content().encoding)
        if unpack and dtype.kind in "fiu":
            little, size = dtype.newbyteorder("<"), dtype.itemsize * int(np.prod(shape))
            return lambda data: np.frombuffer(unpack(data, size), little).reshape(shape)
    return None


def _image(data: bytes, dtype: np.dtype, channels: int) -> np.ndarray:
    """[H, W, channels]."""
    if channels == 1 and _is_plain_grey(data, dtype):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if image is not None and image.ndim == 2 and image.dtype == dtype:
            return image[..., None]
    return tf.image.decode_image(data, channels=channels, dtype=tf.as_dtype(dtype)).numpy()


def _is_plain_grey(data: bytes, dtype: np.dtype) -> bool:
    """Whether it is a PNG of grey levels of that type: no palette, no bits to be spread."""
    if data[:8] != _PNG or len(data) < 26:
        return False
    depth, colour = struct.unpack_from("BB", data, 24)  # of the header, the first chunk
    return colour == _GREY and _DEPTHS.get(depth) == dtype
