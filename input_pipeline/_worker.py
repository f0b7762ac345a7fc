"""A process that makes every n-th batch of a stream: see `workers.py`, which starts it.

    python -m input_pipeline._worker THREADS FILE FILE ...

It is told which stream by its standard input, and then which file has been read and may be written
again; its answers go to its standard output. It ends as soon as its input does, that is when who
started it is gone, whatever it is doing then.
"""

import contextlib
import importlib
import os
import pickle
import queue
import sys
import threading
import traceback
from typing import Any

import numpy as np

from input_pipeline import cores
from input_pipeline.errors import DatasetError, OptionError


def main(arguments: list[str]) -> None:
    threads, *files = map(int, arguments)
    cores.use_at_most(threads)
    sys.modules["jax"] = None  # type: ignore[assignment]  # TensorFlow Lite imports it if it can
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything prints is no answer
    try:
        request = pickle.load(sys.stdin.buffer)
    except (EOFError, pickle.UnpicklingError):  # who started it is gone
        return
    free: queue.Queue[int] = queue.Queue()
    for slot in range(len(files)):
        free.put(slot)
    threading.Thread(target=_receive, args=(free,), daemon=True).start()

    def answer(kind: str, told: Any) -> None:
        pickle.dump((kind, told), answers)
        answers.flush()

    with contextlib.suppress(BrokenPipeError):  # nobody is there any more
        try:
            for batch in _batches(*request):
                slot = free.get()
                answer("batch", (slot, _written(files[slot], batch)))
        except (DatasetError, OptionError) as error:
            answer(type(error).__name__, str(error))
        except Exception:
            answer("defect", traceback.format_exc())
    os._exit(0)  # threads of tf.data may still be at work


def _batches(opener: str, arguments: tuple[Any, ...], start_step: int, every: int):
    module, _, function = opener.partition(":")
    stream = getattr(importlib.import_module(module), function)(*arguments)
    return stream.batches(start_step, every)


def _receive(free: queue.Queue) -> None:
    """Which slots are free, until nobody tells any more."""
    try:
        while True:
            free.put(pickle.load(sys.stdin.buffer))
    finally:
        os._exit(0)


def _written(file: int, batch: dict[str, np.ndarray]) -> list[tuple[str, str, tuple[int, ...]]]:
    """As of `_write`. Raises OptionError if the system does not take so much."""
    try:
        return _write(file, batch)
    except OSError as error:
        size = sum(array.nbytes for array in batch.values())
        raise OptionError(
            f"A batch of {size / 2**20:.3g} MiB cannot be handed on by a file in memory: "
            f"{error.strerror}. Raise the limit (ulimit -f, or the memory of the job), or use no "
            "other processes (config.data.workers=0)."
        ) from error


def _write(file: int, batch: dict[str, np.ndarray]) -> list[tuple[str, str, tuple[int, ...]]]:
    """Writes the arrays one after the other, over what was there: [(key, type, shape)]."""
    layout, position = [], 0
    for key, array in batch.items():
        layout.append((key, array.dtype.str, array.shape))
        rest = memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
        while rest:  # the system may take less at once
            count = os.pwrite(file, rest, position)
            position, rest = position + count, rest[count:]
    return layout


if __name__ == "__main__":
    main(sys.argv[1:])
