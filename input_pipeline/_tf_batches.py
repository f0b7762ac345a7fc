"""Batches of records by tf.data: read, decode and change in parallel, in order."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from input_pipeline import _closing, cores
from input_pipeline.errors import DatasetError
from input_pipeline.labels import LabelSpec
from input_pipeline.quiet_tensorflow import tf

Batch = dict[str, np.ndarray]

_PREFETCHED_BATCHES = 2


def batches(
    records: Any,
    steps: range,
    choose: Callable[[int], tuple[np.ndarray, np.ndarray]],
    change: Callable[[Batch, np.ndarray], Batch],
    batch_size: int,
    size: tuple[int, int] | None,
    describe: Callable[[int], str],
    specs: Mapping[str, LabelSpec] | None = None,
) -> Iterator[Batch]:
    """Yields NumPy batches, in order: steps ─► records ─► examples ─► batches.

    Args:
      records: `Records` or `MixedRecords`.
      steps: which batches.
      choose: step ─► `batch_size` indices and int64 [batch_size, n], n numbers for each.
      change: the arrays of an example and its numbers ─► those in a batch, and `valid`.
      batch_size: of this process.
      size: height and width of the result, if they are known beforehand.
      describe: step ─► which batch that is, for errors.
      specs: of the arrays in a batch, where they are others than those of the records.

    Raises:
      DatasetError: a record does not decode, or the arrays of a batch differ in size.
    """
    found = _batches(records, steps, choose, change, batch_size, size, describe, specs)
    return _closing.at_exit(found)


def _batches(records, steps, choose, change, batch_size, size, describe, specs):
    """See `batches`."""

    def read_arrays(step):
        indices, numbers = choose(int(step))
        return np.array(records.read(indices), object), numbers

    def read_tensors(step):
        found, numbers = tf.numpy_function(read_arrays, [step], (tf.string, tf.int64))
        return tf.ensure_shape(found, [batch_size]), tf.ensure_shape(numbers, [batch_size, None])

    def make(record, numbers):
        return _in_numpy(change, records.decode(record), numbers, size, specs or records.specs)

    dataset = tf.data.Dataset.range(steps.start, steps.stop, steps.step)
    threads = cores.available()
    dataset = dataset.map(read_tensors, num_parallel_calls=threads).unbatch()
    dataset = dataset.map(make, num_parallel_calls=threads)
    dataset = dataset.batch(batch_size, drop_remainder=True).prefetch(_PREFETCHED_BATCHES)
    # There is nothing left to tune, and the tuner's thread takes processor time from the training
    # and holds up the end of an iteration, for as long as 17 seconds on two cores.
    options = tf.data.Options()
    options.autotune.enabled = False
    dataset = dataset.with_options(options)

    iterator = dataset.as_numpy_iterator()
    for step in steps:
        try:
            batch = next(iterator)
        except tf.errors.OpError as error:
            raise DatasetError(f"{describe(step)}: {_message(error)}") from error
        yield batch


def _message(error: tf.errors.OpError) -> str:
    """What an error says, without the nodes of TensorFlow's graph and the traceback inside it."""
    message = re.sub(r"{{.*?}} ?|\s*\[\[.*?\]\]|\[Op:.*?\]", "", error.message)
    message = message.partition("\nTraceback")[0].strip()
    if re.search("Cannot (add tensor to the|batch tensors)", message):
        message += " Only images of one size form a batch: crop or pad them to one."
    return message


def _in_numpy(
    change: Callable[[Batch, np.ndarray], Batch],
    example: dict[str, tf.Tensor],
    numbers: tf.Tensor,
    size: tuple[int, int] | None,
    specs: Mapping[str, LabelSpec],
) -> dict[str, tf.Tensor]:
    """Calls `change` on the arrays of an example and the numbers beside its record."""

    def call(numbers, *values):
        changed = change(dict(zip(example, values)), numbers)
        return [np.ascontiguousarray(changed[key]) for key in specs] + [changed["valid"]]

    dtypes = [*(tf.as_dtype(spec.dtype) for spec in specs.values()), tf.bool]
    *values, valid = tf.numpy_function(call, [numbers, *example.values()], dtypes, stateful=False)
    found = {"valid": tf.ensure_shape(valid, [])}
    for (key, spec), value in zip(specs.items(), values):
        channels = [spec.channels] * (spec.channels > 0)
        found[key] = tf.ensure_shape(value, [*(size or (None, None)), *channels])
    return found
