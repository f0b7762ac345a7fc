"""Draws examples on all CPU cores: processes that import NumPy and Pillow only, read in order.

The processes are plain children with a pipe, not `multiprocessing`: that would import the caller's
main module, and so TensorFlow and JAX, into each of them.

    python -m input_pipeline.streets.workers SEED SPLIT HEIGHT WIDTH START STOP STEP
"""

import io
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
from PIL import Image

from input_pipeline import _children, cores
from input_pipeline.streets import render

_AHEAD = 16  # examples that wait per process, at most


def encoded(seed: int, split: int, index: int, height: int, width: int) -> dict:
    """An example as it is stored: 8-bit maps as PNG bytes, depth and normals as float16."""
    drawn = render.example(seed, split, index, height, width)
    for key in ("image", "semseg", "parts"):
        drawn[key] = _png(drawn[key])
    for key in ("depth", "normals"):
        drawn[key] = drawn[key].astype(np.float16)
    return drawn


def _png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="png", compress_level=2)
    return buffer.getvalue()


def examples(
    seed: int, split: int, count: int, height: int, width: int, processes: int | None = None
) -> Iterator[dict]:
    """Yields `encoded(...)` of examples 0 ... count − 1 in order, drawn by several processes.

    Raises:
      RuntimeError: a process ended early; what it said is on stderr.
    """
    processes = max(1, min(processes or cores.available(), count))
    children, queues = [], []
    stopped = threading.Event()
    try:
        for k in range(processes):
            numbers = map(str, (seed, split, height, width, k, count, processes))
            child = subprocess.Popen(
                [sys.executable, "-m", "input_pipeline.streets.workers", *numbers],
                stdout=subprocess.PIPE,
                env=_children.environment(),
            )
            children.append(child)
            queues.append(queue.Queue(_AHEAD))
            arguments = (child.stdout, queues[-1], stopped)
            threading.Thread(target=_receive, args=arguments, daemon=True).start()
        for index in range(count):
            example = queues[index % processes].get()
            if example is None:
                raise RuntimeError(
                    f"Drawing example {index} of {count} (seed {seed}, split {split}, "
                    f"{height}×{width}) failed: process {index % processes} of {processes} ended "
                    f"with status {children[index % processes].wait()}; see its message above."
                )
            yield example
    finally:
        stopped.set()
        for child in children:
            child.kill()
        for child in children:
            child.wait()
            if child.stdout is not None:
                child.stdout.close()


def _receive(stream, received: queue.Queue, stopped: threading.Event) -> None:
    """Moves examples from a process's pipe to a queue; None marks the end."""
    while not stopped.is_set():
        try:
            example = pickle.load(stream)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            example = None
        while not stopped.is_set():
            try:
                received.put(example, timeout=0.2)
                break
            except queue.Full:
                continue
        if example is None:
            return


def main(arguments: list[str]) -> None:
    seed, split, height, width, start, stop, step = map(int, arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    for index in range(start, stop, step):
        try:
            pickle.dump(encoded(seed, split, index, height, width), sys.stdout.buffer)
            sys.stdout.buffer.flush()
        except BrokenPipeError:  # the parent is gone
            os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
