"""Batches of records by Python's threads: each example read, decoded and changed by one call."""

import concurrent.futures
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from input_pipeline import _closing, cores
from input_pipeline.errors import DatasetError
from input_pipeline.labels import LabelSpec

_PREFETCHED_BATCHES = 2


def batches(
    records: Any,
    steps: range,
    choose: Callable[[int], tuple[np.ndarray, np.ndarray]],
    change: Callable[[dict[str, np.ndarray], np.ndarray], dict[str, np.ndarray]],
    batch_size: int,
    size: tuple[int, int] | None,
    describe: Callable[[int], str],
    specs: Mapping[str, LabelSpec] | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Yields batches in order, made by as many threads as there are cores.

    Arguments and errors are those of `_tf_batches.batches`; of the records this needs `example`.
    """
    del batch_size, size, specs
    return _closing.at_exit(_batches(records, steps, choose, change, describe))


def _batches(records, steps, choose, change, describe):
    """See `batches`."""
    waiting: deque[tuple[int, list[concurrent.futures.Future]]] = deque()
    pool = concurrent.futures.ThreadPoolExecutor(cores.available())

    def make(index, numbers):
        return change(records.example(index), numbers)

    def start(step):
        waiting.append((step, [pool.submit(make, *one) for one in zip(*choose(step))]))

    try:
        ahead = iter(steps)
        for step in (step for _, step in zip(range(1 + _PREFETCHED_BATCHES), ahead)):
            start(step)
        while waiting:
            step, examples = waiting.popleft()
            try:
                batch = _stacked([example.result() for example in examples])
            except ValueError as error:  # as OptionError and DatasetError are
                raise DatasetError(f"{describe(step)}: {error}") from error
            for following in ahead:
                start(following)
                break
            yield batch
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _stacked(examples: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """{key: [b, ...]}. Raises ValueError if their sizes differ."""
    for key, first in examples[0].items():
        if others := [one[key].shape for one in examples if one[key].shape != first.shape]:
            raise ValueError(
                f"{key!r} is {first.shape} and {others[0]}. Only images of one size form a batch: "
                "crop or pad them to one."
            )
    return {key: np.stack([one[key] for one in examples]) for key in examples[0]}
