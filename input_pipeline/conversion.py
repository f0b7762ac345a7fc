"""Converts the examples of a release in several processes, each result a file of its own.

A result appears under its name when it is complete, and is named after everything that it was made
from. So a conversion that was interrupted goes on where it stopped, and a file of the release that
was replaced in the meantime is converted again.

The processes are plain children with pipes, not `multiprocessing`: that would import the caller's
main module, and so TensorFlow and JAX, into each of them. What goes through these pipes is pickled,
as nobody else can write into them; what lies in a file never is.
"""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import traceback
import types
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import numpy as np

from input_pipeline import _children, _images, _progress, converted, cores, labels, summary
from input_pipeline.converted import Header
from input_pipeline.errors import DatasetError
from input_pipeline.labels import LabelSpec
from input_pipeline.sources import File

_PER_PROCESS = 16  # fewer examples than this do not pay for another process
_MOST_ERRORS = 10


@dataclasses.dataclass(frozen=True)
class Item:
    """What one example is made from.

    Attributes:
      id: of the example, unique within its split.
      files: by key, for reading and for messages.
      data: what else the converter needs to know, of a type whose `repr` says it all.
    """

    id: str
    files: Mapping[str, File]
    data: Any = None


Items = dict[str, list[Item]]  # by split


@dataclasses.dataclass(frozen=True)
class Job:
    """How examples are made.

    Attributes:
      name: of data set, configuration and version: another name, another result.
      convert: Item ─► arrays by key; a key that the example does not have is left out, and 'image'
        may be a `Photo`. It is called in other processes, so it has to be a function or an instance
        of a class at the top of a module; the `repr` of an instance has to tell its settings.
      specs: of all keys.
      size: (height, width) that every example has to have, or None.
    """

    name: str
    convert: Callable[[Item], Mapping[str, Any]]
    specs: Mapping[str, LabelSpec]
    size: tuple[int, int] | None = None

    def key(self, item: Item) -> str:
        """Names the result: a hash of the item, of the settings and of the state of the files."""
        files = {key: (str(file), file.stamp()) for key, file in sorted(item.files.items())}
        settings = repr(self.convert)
        if isinstance(self.convert, types.FunctionType):
            settings = f"{self.convert.__module__}.{self.convert.__qualname__}"
        described = repr((self.name, settings, self.size, item.id, files, item.data))
        if " at 0x" in described:
            raise TypeError(f"{described}: an address in memory names nothing in the next run.")
        return hashlib.sha256(described.encode()).hexdigest()[:32]


def convert_item(job: Job, item: Item) -> tuple[Header, dict[str, Any]]:
    """Converts, checks and encodes one example.

    Returns:
      Its header, and what is stored for each key: see `encode`.

    Raises:
      DatasetError: a file is missing or wrong; an array is not what its spec says, or not of the
        size of the others.
    """
    example = dict(job.convert(item))
    contents = None
    if isinstance(example["image"], _images.Photo):
        example["image"], contents = example["image"]
    _check(example, job, item)
    size = example["image"].shape[:2]
    encoded = {"id": item.id}
    for key, spec in job.specs.items():
        array = example[key] if key in example else spec.unlabelled(size)
        encoded[key] = encode(array, spec)
    if contents is not None:
        encoded["image"] = contents  # The file's own bytes: nothing is encoded twice.
    return Header(size, summary.count(example, job.specs)), encoded


def _check(example: Mapping[str, np.ndarray], job: Job, item: Item) -> None:
    """Checks every array of an example, and that all are of one size."""
    where = {key: str(item.files.get(key, item.id)) for key in example}
    size = job.size or example["image"].shape[:2]
    reason = "" if job.size else f", the size of {where['image']}"
    for key, array in example.items():
        labels.check(array, job.specs[key], f"{where[key]}, key {key!r}")
        if job.specs[key].dtype == "int32":
            _check_range(array, job.specs[key], f"{where[key]}, key {key!r}")
        if array.shape[:2] != size:
            raise DatasetError(
                f"{where[key]}, key {key!r}: expected {size[0]}×{size[1]} (height×width)"
                f"{reason}, found {array.shape[0]}×{array.shape[1]}."
            )


def _check_range(array: np.ndarray, spec: LabelSpec, where: str) -> None:
    greatest = np.iinfo(id_dtype(spec)).max
    if array.max() > greatest:
        raise DatasetError(
            f"{where}: expected ids up to {greatest}, which is what records hold, found "
            f"{array.max()}. Number them from 1 in every image."
        )


def encode(array: np.ndarray, spec: LabelSpec) -> bytes | np.ndarray:
    """What a record holds of an array: PNG of images and ids, float32 of everything else."""
    if spec.dtype == "uint8":
        return _images.png(array)
    if spec.dtype == "int32":
        return _images.png(array.astype(id_dtype(spec)))
    return array.astype(np.float32)


def id_dtype(spec: LabelSpec) -> type[np.integer]:
    """The type in which ids are stored: uint8 if classes and the ignored id fit, else uint16."""
    greatest = max(len(spec.class_names) - 1, spec.ignore or 0)
    return np.uint8 if spec.kind == "classes" and greatest < 256 else np.uint16


def convert(
    job: Job,
    items: Sequence[Item],
    directory: str | os.PathLike,
    *,
    description: str = "converting",
    processes: int | None = None,
) -> list[str]:
    """Converts what is not converted yet, with a progress bar.

    Args:
      job: how.
      items: the examples.
      directory: for the results; it is made if need be.
      description: beside the bar.
      processes: how many work; None is one for each CPU, or none besides this one if there is
        little to do.

    Returns:
      The files of the results, in the order of `items`, which `converted` reads.

    Raises:
      DatasetError: a file of the release is missing or wrong (up to ten are named), or `directory`
        cannot be written.
    """
    os.makedirs(directory, exist_ok=True)
    targets = [os.path.join(directory, job.key(item)) for item in items]
    # What an earlier run left is looked at: a disk may have been full, or somebody else there.
    todo = {t: item for t, item in zip(targets, items) if not converted.is_whole(t)}
    if processes is None:
        processes = min(cores.available(), len(todo) // _PER_PROCESS)
    work = _here(job, todo) if processes < 2 else _in_processes(job, todo, processes)
    errors: dict[str, DatasetError] = {}
    bar = _progress.bar(total=len(items), initial=len(items) - len(todo), desc=description)
    with bar:
        for target, error in work:
            if error is not None:
                errors[target] = error
                if len(errors) == _MOST_ERRORS:
                    break
            bar.update()
        work.close()
    if errors:
        # In the order of the items, whichever process was first.
        messages = [str(errors[target]) for target in dict.fromkeys(targets) if target in errors]
        raise DatasetError("\n".join(messages))
    return targets


def _convert_to_file(job: Job, item: Item, target: str) -> None:
    header, example = convert_item(job, item)
    temporary = _temporary(target, os.getpid())
    try:
        with open(temporary, "wb") as stream:
            converted.write(stream, header, example)
            stream.flush()
            os.fsync(stream.fileno())  # A name must never stand for half a file.
        os.replace(temporary, target)
    except OSError as error:
        raise DatasetError(
            f"{os.path.dirname(target)} cannot be written ({error.strerror}). Make room, or name "
            "another folder with data_dir."
        ) from error
    finally:
        _remove(temporary)  # a full disk has no room for half a file either


def _temporary(target: str, process: int) -> str:
    return f"{target}.{process}.tmp"


def _remove(file: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(file)


Outcome = tuple[str, DatasetError | None]


def _here(job: Job, todo: Mapping[str, Item]) -> Generator[Outcome, None, None]:
    for target, item in todo.items():
        try:
            _convert_to_file(job, item, target)
            yield target, None
        except DatasetError as error:
            yield target, error


def _in_processes(
    job: Job, todo: Mapping[str, Item], processes: int
) -> Generator[Outcome, None, None]:
    idle: queue.SimpleQueue[_Child] = queue.SimpleQueue()
    children = []

    def work(target, item):
        child = idle.get()
        try:
            return target, child.convert(item, target)
        finally:
            idle.put(child)

    pool = concurrent.futures.ThreadPoolExecutor(processes)
    try:
        for _ in range(processes):
            children.append(_Child(job))
            idle.put(children[-1])
        futures = [pool.submit(work, target, item) for target, item in todo.items()]
        for future in concurrent.futures.as_completed(futures):
            yield future.result()
    finally:
        for child in children:
            child.stop()
        pool.shutdown(cancel_futures=True)


class _Child:
    """A process that converts one item after the other."""

    def __init__(self, job: Job):
        self._process = subprocess.Popen(
            # Not -m, which would make this module __main__ and pickle its classes as such.
            [sys.executable, "-c", "from input_pipeline import conversion; conversion.serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_children.environment(),
        )
        self._target = ""
        self._send(job)

    def convert(self, item: Item, target: str) -> DatasetError | None:
        self._target = target
        self._send((item, target))
        try:
            error, unexpected = pickle.load(self._process.stdout)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError) as reason:
            raise RuntimeError(
                f"A process that converts examples ended with status {self._process.wait()} while "
                f"it was at {item.id!r} (a negative status is a signal; −9 is often a lack of "
                "memory). Start again: what is converted is kept."
            ) from reason
        if unexpected:
            raise RuntimeError(f"Converting {item.id!r} failed:\n{unexpected}")
        return error

    def stop(self) -> None:
        """Ends the process, whatever it is at, and removes what it has written of that."""
        self._process.kill()
        # Closes the pipes and waits; what has not been sent yet is not taken any more.
        with contextlib.suppress(OSError), self._process:
            pass
        _remove(_temporary(self._target, self._process.pid))

    def _send(self, what: Any) -> None:
        try:
            pickle.dump(what, self._process.stdin)
            assert self._process.stdin is not None
            self._process.stdin.flush()
        except (OSError, ValueError):
            pass  # It has ended, which is told by who reads its answer.


def serve() -> None:
    """Reads a job and then items from stdin, and answers each on stdout."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not get in between
    job = pickle.load(sys.stdin.buffer)
    while True:
        try:
            item, target = pickle.load(sys.stdin.buffer)
        except EOFError:  # the parent is gone or done
            return
        error = unexpected = None
        try:
            _convert_to_file(job, item, target)
        except DatasetError as known:
            error = DatasetError(str(known))  # without what it came from, which may not pickle
        except Exception:
            unexpected = traceback.format_exc()
        pickle.dump((error, unexpected), answers)
        answers.flush()
