"""A record of TFDS ─► NumPy arrays, to the last value those that TFDS decodes by TensorFlow.

TFDS parses and decodes in a graph. Taking the bytes out of the record and giving each to what is
fastest at it takes three quarters of that time, and two thirds for small images. JPEG stays
TensorFlow's: decoders differ by a few grey levels, and runs go on with what they began with.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from input_pipeline._tensorflow import tf, tfds

_PNG = b"\x89PNG\r\n\x1a\n"
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
    if isinstance(feature, tfds.features.Image) and dtype in (np.uint8, np.uint16):
        return lambda data: _image(data, dtype, shape[-1])
    if type(feature) is tfds.features.Tensor and None not in shape:
        unpack = _ENCODINGS.get(feature.to_json_content().encoding)
        if unpack and dtype.kind in "fiu":
            little, size = dtype.newbyteorder("<"), dtype.itemsize * int(np.prod(shape))
            return lambda data: np.frombuffer(unpack(data, size), little).reshape(shape)
    return None


def _image(data: bytes, dtype: np.dtype, channels: int) -> np.ndarray:
    """[H, W, channels]."""
    if channels == 1 and data.startswith(_PNG):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        # Anything but grey levels of that type, such as a palette, is given another form.
        if image is not None and image.ndim == 2 and image.dtype == dtype:
            return image[..., None]
    return tf.image.decode_image(data, channels=channels, dtype=tf.as_dtype(dtype)).numpy()
