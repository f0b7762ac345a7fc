"""Training batches made in other processes, which take turns: worker k of n makes every n-th.

A batch is a pure function of its step (`pipeline.py`), so a worker opens the same stream once more
and makes its share of the steps; the batches and their order are those of one process, bit for bit.
What a worker does is in `_worker.py`. It is a plain child with two pipes, not `multiprocessing`:
that would import the caller's main module, and so JAX, into each of them.

Only words go through the pipes. A batch goes through a file in memory, into which the worker writes
its arrays and out of which this process reads them into arrays of its own, as JAX may go on using
the memory of an array that it was given.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from input_pipeline import _children, cores
from input_pipeline.errors import DatasetError, OptionError

Batch = dict[str, np.ndarray]

# Of glibc: memory of a batch is kept for the next one instead of being given back, and zeroed by
# the system when it is asked for again (a sixth of a worker's time at 512×512).
_KEEPING = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
SLOTS = 2  # batches that a worker may be ahead, besides those that its stream prepares
_ASKED_TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ERRORS = {error.__name__: error for error in (DatasetError, OptionError)}


class Stream:
    """A `pipeline.TrainStream` whose batches are made by workers; all else is its own."""

    def __init__(self, stream: Any, number: int, opener: str, arguments: Sequence[Any]):
        """Starts nothing yet; `batches` does.

        Args:
          stream: the stream.
          number: of workers.
          opener: 'module:function' of this project that opens the same stream in a worker. Like
            all that it imports it may not import JAX.
          arguments: of that function, which can be pickled.
        """
        self._stream, self._number = stream, number
        self._opener, self._arguments = opener, tuple(arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def batches(self, start_step: int = 0) -> "Batches":
        """As of `TrainStream`. The workers begin at once, and end with the iterator.

        Raises:
          DatasetError: as of `TrainStream`; or a worker has ended, which nobody asked it to.
          RuntimeError: a defect, with the worker's traceback.
        """
        return Batches(self._number, self._opener, self._arguments, start_step)


class Batches(Iterator[Batch]):
    """Batches from a step on, for ever. The workers end when it is closed, or nobody has it.

    Attributes:
      pids: of the workers, in the order of their turns.
    """

    def __init__(self, number: int, opener: str, arguments: tuple[Any, ...], start_step: int):
        """Starts the workers. Arguments as of `Stream`."""
        self._workers: list[_Worker] = []
        # At the program's end, too.
        self.close = weakref.finalize(self, _end, self._workers, os.getpid())
        try:
            for turn in range(number):
                self._workers.append(_Worker(turn, number))
            for turn, worker in enumerate(self._workers):
                worker.say((opener, arguments, start_step + turn, number))
        except OSError as error:
            started = len(self._workers)
            self.close()
            raise OptionError(
                f"config.data.workers={number}: the system starts no more than {started} of these "
                f"processes ({error.strerror}). As many as there are cores are enough, here "
                f"{cores.available()}."
            ) from error
        except BaseException:
            self.close()
            raise
        self.pids = [worker.process.pid for worker in self._workers]
        self._turn = 0

    def __next__(self) -> Batch:
        if not self.close.alive:
            raise StopIteration
        try:
            batch = self._workers[self._turn].batch()
        except BaseException:
            self.close()
            raise
        self._turn = (self._turn + 1) % len(self._workers)
        return batch


class _Worker:
    """A worker process, as the one that takes its batches sees it."""

    def __init__(self, turn: int, number: int):
        self._name = f"Process {turn} of the {number} that make batches"
        self._slots = [_file_in_memory() for _ in range(SLOTS)]
        slots = [slot.fileno() for slot in self._slots]
        threads = str(max(1, cores.available() // number))
        pools = dict.fromkeys(("TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS"), threads)
        with _signals_blocked():
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "input_pipeline._worker", threads, *map(str, slots)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=slots,
                env=_children.environment(**_KEEPING, **pools),
            )

    def say(self, message: Any) -> None:
        """Sends a message. That a worker is gone is found when its answer is asked for."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            pickle.dump(message, self.process.stdin)
            self.process.stdin.flush()

    def batch(self) -> Batch:
        """The worker's next batch. Raises what `Stream.batches` says."""
        try:
            kind, told = pickle.load(self.process.stdout)
        except (EOFError, pickle.UnpicklingError):
            raise DatasetError(self._gone()) from None
        if kind in _ERRORS:
            raise _ERRORS[kind](told)
        if kind != "batch":
            raise RuntimeError(f"{self._name} failed:\n{told}")
        slot, layout = told
        found = _read(self._slots[slot].fileno(), layout)
        self.say(slot)
        return found

    def _gone(self) -> str:
        status = self.process.wait()
        how = f"with status {status}"
        if status < 0:
            how = f"by signal {-status} ({signal.strsignal(-status)})"
        return (
            f"{self._name} ended {how}. If it said nothing, the system may have ended it for want "
            "of memory: use fewer (config.data.workers), or none (config.data.workers=0)."
        )

    def gather(self) -> None:
        """Gives back what belonged to a process that was killed."""
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, *self._slots):
            with contextlib.suppress(BrokenPipeError):  # of what it was not told any more
                file.close()


def _end(workers: list[_Worker], parent: int) -> None:
    """Ends them, whatever they are doing; they are those of the process `parent` alone."""
    if os.getpid() != parent:  # a fork of it
        return
    for worker in workers:
        worker.process.kill()
    for worker in workers:
        worker.gather()


def _read(file: int, layout: Sequence[tuple[str, str, tuple[int, ...]]]) -> Batch:
    """The arrays in a file, one after the other."""
    batch, position = {}, 0
    for key, dtype, shape in layout:
        batch[key] = np.empty(shape, dtype)
        rest = memoryview(batch[key].reshape(-1).view(np.uint8))
        while rest:  # the system may give less at once
            count = os.preadv(file, [rest], position)
            if not count:
                raise EOFError(f"{key!r} is not all there.")
            position, rest = position + count, rest[count:]
    return batch


def _file_in_memory() -> Any:
    """A file without a name. A container limits /dev/shm, often to 64 MB, but not this."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("batch"), "r+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """What is started meanwhile is reached by none of `_ASKED_TO_END`, from its first moment on.

    They often go to all processes at once; this one decides, and may need a few batches more.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ASKED_TO_END)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
