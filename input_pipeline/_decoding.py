"""Records decoded by direct calls, one after the other, instead of by a graph of TensorFlow.

A graph hands every record from one small operation to the next, which pays as soon as several
threads share the work; a process that has one core decodes faster by itself. The arrays are the
same: JPEG is decoded by TensorFlow, as decoders differ by some grey levels, and PNG by OpenCV where
nothing has to be converted, so that there is nothing to differ in.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from google.protobuf import message

from input_pipeline.labels import LabelSpec
from input_pipeline.quiet_tensorflow import tf, tfds

_PNG = b"\x89PNG\r\n\x1a\n"
# Of what is missing in a record or has another size, is no zlib, no image or too large a one, or no
# record.
_ERRORS = (
    ValueError,
    zlib.error,
    cv2.error,
    MemoryError,
    tf.errors.OpError,
    message.DecodeError,
)


class Decoder:
    """Decodes the records of a split for some of their keys.

    Attributes:
      is_complete: whether every feature is of a kind that this knows.
    """

    def __init__(self, features: tfds.features.FeaturesDict, specs: Mapping[str, LabelSpec]):
        """Looks at the features of a data set, of which `specs` are those that are asked for."""
        self._features, self._specs = features, specs
        used = [features[key] for key in specs]
        self.is_complete = all(_is_image(feature) or _is_bytes(feature) for feature in used)

    def __call__(self, record: bytes) -> dict[str, np.ndarray]:
        """The arrays of one example by key, in the dtype and rank of their specs.

        Raises:
          ValueError: the record does not decode.
        """
        what, arrays = "it", {}
        try:
            found = tf.train.Example.FromString(record).features.feature
            for key, spec in self._specs.items():
                what = f"its {key!r}"
                arrays[key] = _conform(_decoded(self._features[key], found, key), spec)
        except _ERRORS as error:
            raise ValueError(f"{what} does not decode: {error}") from error
        return arrays


def _is_image(feature: Any) -> bool:
    return type(feature) is tfds.features.Image and feature.np_dtype in (np.uint8, np.uint16)


def _is_bytes(feature: Any) -> bool:
    """Whether it is an array kept as its bytes; with them goes its shape, where that differs."""
    if type(feature) is not tfds.features.Tensor:
        return False
    kept = feature.get_serialized_info()
    return (kept["value"] if isinstance(kept, dict) else kept).np_dtype == np.object_


def _decoded(feature: Any, found: Mapping[str, Any], key: str) -> np.ndarray:
    """The value of a feature among those `found` in a record."""
    if _is_image(feature):
        return _image(feature, _bytes(found, key))
    if f"{key}/value" in found:  # of no fixed shape
        shape = np.array(found[f"{key}/shape"].int64_list.value)
        return feature.decode_example_np({"value": _bytes(found, f"{key}/value"), "shape": shape})
    return feature.decode_example_np(_bytes(found, key))


def _bytes(found: Mapping[str, Any], key: str) -> bytes:
    values = found[key].bytes_list.value
    if len(values) != 1:
        raise ValueError(f"expected one value of {key!r}, found {len(values)}")
    return values[0]


def _image(feature: Any, encoded: bytes) -> np.ndarray:
    """[H, W, C] of what a PNG or JPEG holds."""
    dtype, channels = np.dtype(feature.np_dtype), feature.shape[-1]
    if encoded.startswith(_PNG):
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
        # What has other channels or values is converted by TensorFlow, or refused by it.
        if image is not None and image.dtype == dtype:
            if channels == 1 and image.ndim == 2:
                return image[..., None]
            if channels == 3 and image.shape[2:] == (3,):
                return image[..., ::-1]  # OpenCV has blue first
    return tf.io.decode_image(encoded, channels, dtype).numpy()


def _conform(value: np.ndarray, spec: LabelSpec) -> np.ndarray:
    if spec.channels == 0 and value.ndim == 3:
        value = value.squeeze(2)
    return np.ascontiguousarray(value, spec.dtype)
