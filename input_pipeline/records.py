"""One split of a prepared data set: any record by its index, decoded for the keys asked for."""

import io
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from array_record.python import array_record_data_source
from PIL import Image

from input_pipeline import _decoding, _tf_batches, _thread_batches, cores
from input_pipeline._order import permutation
from input_pipeline.errors import DatasetError
from input_pipeline.held_out import Chosen, Part
from input_pipeline.labels import LabelSpec
from input_pipeline.quiet_tensorflow import tf, tfds

# RuntimeError is what a damaged file of records is to its reader.
_UNREADABLE = (OSError, RuntimeError, ValueError, tf.errors.OpError)


class Records:
    """The records of one split, read by index and decoded for the keys that are asked for.

    Attributes:
      name: of data set and split, for messages.
      num_examples: in the split.
      specs: of the keys that are both asked for and in the data set.
      missing: keys that are asked for and not in the data set: unlabelled.
      labelled: {key: examples of an epoch that have it}.
      stored_dtypes: {key: the type of the stored values, which a small array can keep}.
    """

    def __init__(
        self,
        builder: tfds.core.DatasetBuilder,
        split: str,
        keys: Sequence[str],
        part: Part | None = None,
    ):
        """Opens a split.

        Args:
          builder: a prepared data set.
          split: e.g. 'train', or a part of it in the notation of TFDS, e.g. 'train[:100]'.
          keys: 'image' and label keys.
          part: of the split; None = all of it.

        Raises:
          DatasetError: there is no such split, it is empty, its files are missing, 'image' is not
            among the keys, or the data set has none of the label keys.
        """
        self.name = f"{builder.info.full_name}, split {split!r}"
        known = builder.label_specs
        self.specs: dict[str, LabelSpec] = {key: known[key] for key in keys if key in known}
        self.missing = tuple(key for key in keys if key not in known)
        if "image" not in self.specs or len(self.specs) < 2:
            raise DatasetError(
                f"{self.name}: asked for the keys {sorted(keys)}; expected 'image' and at least "
                f"one label of the data set, which has {sorted(known)}."
            )
        files = self._files(builder, split)
        self._size = tuple(builder.info.features["image"].shape[:2])
        self._source = array_record_data_source.ArrayRecordDataSource(files)
        if part is not None:
            self._source = Chosen(self._source, part.indices(len(self._source)))
            self.name += part.words
        self.num_examples = len(self._source)
        self.labelled = dict.fromkeys(self.specs, self.num_examples)
        features = builder.info.features
        self.stored_dtypes = {key: features[key].np_dtype for key in self.specs}
        keys = dict.fromkeys(["id", *self.specs], True)
        decoding = tfds.decode.PartialDecoding(keys)
        self._features = decoding.extract_features(builder.info.features)
        self._decoder = _decoding.Decoder(self._features, self.specs)
        ids = tfds.decode.PartialDecoding({"id": True})
        self._id_features = ids.extract_features(builder.info.features)

    def _files(self, builder: tfds.core.DatasetBuilder, split: str) -> list[Any]:
        """Where the records of a split are, all of them there; see `__init__` for errors."""
        splits = builder.info.splits
        try:
            files = splits[split].file_instructions
        except (KeyError, ValueError) as error:
            raise DatasetError(
                f"{self.name}: there is no such split; the data set has {', '.join(splits)}. "
                "Choose by config.data.train_split and config.eval.split; a folder of one's own "
                "has the `splits` of its YAML, to which one can be added."
            ) from error
        if not files:
            raise DatasetError(
                f"{self.name}: expected at least one example, found none. The data set has "
                + ", ".join(f"{n.num_examples} in {name!r}" for name, n in splits.items())
                + "."
            )
        missing = [file.filename for file in files if not os.path.exists(file.filename)]
        if missing:
            raise DatasetError(
                f"{self.name}: {missing[0]} is missing. Remove {builder.data_dir} and prepare the "
                "data set again."
            )
        return files

    def epoch_order(self, seed: int, epoch: int) -> np.ndarray:
        """int64 [num_examples], the indices of all examples as an epoch visits them."""
        return permutation(self.num_examples, seed, epoch)

    def read(self, indices: np.ndarray) -> list[bytes]:
        """The serialized records."""
        return self._source.__getitems__(indices.tolist())

    @property
    def decodes_directly(self) -> bool:
        """Whether `example` decodes a record faster than TensorFlow's graph does on one core."""
        return self._decoder.is_complete

    def example(self, index: int) -> dict[str, np.ndarray]:
        """The arrays of one example by key, in the dtype and rank of their specs.

        Raises:
          DatasetError: the record cannot be read, or does not decode.
        """
        try:
            record = self._source[index]  # `read` starts threads
            if self.decodes_directly:
                return self._decoder(record)
            return {key: value.numpy() for key, value in self.decode(record).items()}
        except _UNREADABLE as error:
            raise DatasetError(f"{self.name}, record {index}: {error}") from error

    def batches(self, *arguments: Any) -> Iterator[dict[str, np.ndarray]]:
        """See `_tf_batches.batches`."""
        directly = self.decodes_directly and cores.available() == 1
        return (_thread_batches if directly else _tf_batches).batches(self, *arguments)

    def ids(self, indices: np.ndarray) -> list[str]:
        """The `id` of each example."""
        return [
            self._id_features.deserialize_example_np(record)["id"].decode()
            for record in self.read(indices)
        ]

    def image_sizes(self, indices: np.ndarray) -> list[tuple[int, int]]:
        """(height, width) of each example's image, without decoding it."""
        if None not in self._size:
            return [self._size] * len(indices)
        sizes = []
        for record in self.read(indices):
            features = tf.train.Example.FromString(record).features.feature
            with Image.open(io.BytesIO(features["image"].bytes_list.value[0])) as image:
                sizes.append((image.height, image.width))
        return sizes

    def describe(self, indices: np.ndarray, what: str) -> str:
        """For errors: the split, `what` in it, and the examples by id, or by index if need be."""
        try:
            examples = self.ids(np.unique(indices))
        except Exception:  # The record that cannot be read is what the error is about.
            examples = [f"record {index}" for index in np.unique(indices)]
        return f"{self.name}, {what}, one of the examples {', '.join(examples)}"

    def decode(self, record: tf.Tensor) -> dict[str, tf.Tensor]:
        """Parses one record: arrays by key, in the dtype and rank of their specs."""
        example = self._features.deserialize_example(record)
        return {key: _conform(example[key], spec) for key, spec in self.specs.items()}


def _conform(value: tf.Tensor, spec: LabelSpec) -> tf.Tensor:
    if spec.channels == 0 and value.shape.rank == 3:
        value = tf.squeeze(value, axis=2)
    return tf.cast(value, spec.dtype)
