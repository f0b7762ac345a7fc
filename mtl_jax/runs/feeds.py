"""What a call of the train step is fed with: batches of the host, or draws from resident data."""

import os
import weakref
from collections.abc import Iterator, Mapping
from concurrent import futures
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from mtl_jax import look_ahead, parallel, resident, training
from mtl_jax.errors import ConfigError
from mtl_jax.runs import progress
from mtl_jax.train_state import TrainState

# Of the memory that is free; the rest is for the training itself.
_LARGEST_SHARE = 0.8
_MEMORY = Path("/proc/meminfo")  # of Linux


class Feed(Protocol):
    """The batches of a run, from some step on."""

    stored: dict[str, jax.Array]  # what lies on the devices; {} if nothing does

    def batch(self, stored: dict[str, jax.Array], given: Any) -> dict[str, jax.Array]:
        """Inside the compiled step: the batch of what `take` gave for one step."""
        ...

    def take(self, count: int, length: int) -> Any:
        """What the next `count` steps need, on the devices; their axis is filled up to `length`."""
        ...


class FromHost:
    """Batches that the input pipeline makes."""

    def __init__(self, batches: Iterator[dict[str, np.ndarray]], mesh: Mesh):
        """Takes the batches in the order of the steps."""
        self.stored: dict[str, jax.Array] = {}
        self._batches, self._mesh = batches, mesh

    def batch(self, stored, given):
        """See `Feed`."""
        del stored
        return given

    def take(self, count, length):
        """See `Feed`."""
        found = [next(self._batches) for _ in range(count)]
        return parallel.put_batches(self._mesh, found, length)


class Resident:
    """A split that lies decoded on the devices."""

    def __init__(self, stream: Any, mesh: Mesh, step: int):
        """Decodes this process's part of the split and brings it to its devices.

        Args:
          stream: an `input_pipeline.pipeline.TrainStream`.
          mesh: over whose devices the examples are divided.
          step: whose batch is the first.

        Raises:
          ConfigError: the split does not fit.
          DatasetError, OptionError: of the stream.
        """
        self._stream, self._mesh, self._step = stream, mesh, step
        stream.draws(step)  # what only the host can do is refused before anything is decoded
        self._specs = {key: spec.as_dict() for key, spec in stream.specs.items()}
        check_fits(stream.stored, stream.num_examples, mesh)
        self.stored = _put(stream, mesh)

    def batch(self, stored, given):
        """See `Feed`."""
        return resident.batch(stored, given, self._specs, self._mesh)

    def take(self, count, length):
        """See `Feed`."""
        found = [self._stream.draws(self._step + k) for k in range(count)]
        self._step += count
        return parallel.put_batches(self._mesh, found, length)


def check_fits(
    layout: Mapping[str, tuple[tuple[int, ...], np.dtype]], examples: int, mesh: Mesh
) -> None:
    """Raises ConfigError, with the numbers, if a split does not fit on the devices of a mesh.

    Args:
      layout: {key: (shape, type)} of one example.
      examples: in the split.
      mesh: over whose devices they are divided.
    """
    each = {key: np.prod(shape) * dtype.itemsize for key, (shape, dtype) in layout.items()}
    share = -(-examples // mesh.size)
    needed, free = share * sum(each.values()), _free_bytes(mesh)
    if needed <= _LARGEST_SHARE * free:
        return
    keys = ", ".join(f"{key} {_size(examples * size)}" for key, size in each.items())
    raise ConfigError(
        f"config.data.resident=True: {examples:,} examples take "
        f"{_size(examples * sum(each.values()))} decoded ({keys}), of which each of {mesh.size} "
        f"devices would keep {_size(needed)}; {_size(free)} are free on a device, and data may "
        f"take {_LARGEST_SHARE:.0%} of that. Use more devices, a part of the split "
        "(config.data.train_split='train[:50%]'), smaller images, or config.data.resident=False."
    )


def _free_bytes(mesh: Mesh) -> int:
    """On the fullest device of all processes; of the machine's memory where they use that."""
    devices = [d for d in mesh.devices.flat if d.process_index == jax.process_index()]
    known = [stats for device in devices if (stats := device.memory_stats())]
    if known and all("bytes_limit" in stats for stats in known):
        free = min(stats["bytes_limit"] - stats["bytes_in_use"] for stats in known)
    else:
        free = _free_on_machine() // len(devices)
    if jax.process_count() == 1:
        return free
    from jax.experimental import multihost_utils

    # In MiB, which 32 bits hold. All are to refuse a split, or none: one alone cannot go on.
    return int(multihost_utils.process_allgather(np.int32(free >> 20)).min()) << 20


def _free_on_machine() -> int:
    """With what the system keeps of files and would give back; all there is if it does not tell."""
    if _MEMORY.exists():
        (line,) = (x for x in _MEMORY.read_text().splitlines() if x.startswith("MemAvailable:"))
        return 1024 * int(line.split()[1])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _size(count: float) -> str:
    return f"{count / 2**30:.3g} GiB" if count >= 2**28 else f"{count / 2**20:.3g} MiB"


def _put(stream: Any, mesh: Mesh) -> dict[str, jax.Array]:
    """The decoded split, divided evenly; what is missing to an even number is zeros."""
    progress.say(f"Decoding {stream.num_examples:,} examples to keep them on the devices.")
    sharding = parallel.batch_sharding(mesh)
    share = -(-stream.num_examples // mesh.size)
    total = share * mesh.size
    parts: dict[str, list[jax.Array]] = {}
    for device, (rows,) in sharding.addressable_devices_indices_map((total,)).items():
        # The last devices may have none.
        begin, end = (min(k, stream.num_examples) for k in rows.indices(total)[:2])
        for key, part in stream.decoded(begin, end).items():
            padding = [(0, share - len(part)), *[(0, 0)] * (part.ndim - 1)]
            part = np.pad(part, padding) if padding[0][1] else part
            parts.setdefault(key, []).append(jax.device_put(part, device))
    return {
        key: jax.make_array_from_single_device_arrays((total, *found[0].shape[1:]), sharding, found)
        for key, found in parts.items()
    }


_compiled: weakref.WeakSet[futures.Future] = weakref.WeakSet()


def is_compiling() -> bool:
    """Whether a thread still compiles a step, for which an orderly end of the program waits."""
    return not all(each.done() for each in _compiled)


class Ahead:
    """A train step that a thread compiles, or reads from the cache, while a run is being started.

    It is traced at once, which is Python's work; what the thread does is not.
    """

    def __init__(
        self,
        step: Any,
        state: TrainState,
        layout: Mapping[str, tuple[tuple[int, ...], np.dtype]],
        batch_size: int,
    ):
        """Compiles.

        Args:
          step: of `training.make_train_step`.
          state: the shapes of what it will be given.
          layout: {key: (shape, type)} of one example in a batch.
          batch_size: of the global batch.
        """
        batch = {
            key: jax.ShapeDtypeStruct((batch_size, *shape), dtype)
            for key, (shape, dtype) in layout.items()
        }
        self._step, self._expected = step, _layout(batch)
        lowered = step.lower(state, batch)
        pool = futures.ThreadPoolExecutor(1)
        self._compiled = pool.submit(lowered.compile)
        _compiled.add(self._compiled)
        pool.shutdown(wait=False)

    def __call__(self, state: TrainState, batch: Mapping[str, jax.Array]):
        """As the step. Batches of other sizes have programs of their own."""
        step = self._compiled.result() if _layout(batch) == self._expected else self._step
        return step(state, batch)


def _layout(batch: Mapping[str, Any]) -> dict[str, Any]:
    return {key: (value.shape, value.dtype) for key, value in batch.items()}


class EachStep:
    """Makes the steps of a run one by one, from batches of the host."""

    def __init__(self, step: training.TrainStep, batches: Iterator[Any], mesh: Mesh):
        """Takes what `training.make_train_step` compiles, and the batches from the next one on."""
        self._step, self._batches, self._mesh = step, batches, mesh

    def __call__(self, state: TrainState, most: int) -> tuple[TrainState, dict[str, Any], int]:
        """One step: (state, logs, 1)."""
        del most
        batch = parallel.put_batch(self._mesh, next(self._batches))
        return *self._step(state, batch), 1


class Calls:
    """Makes several steps of a run in one dispatch."""

    def __init__(self, step: training.TrainStep, feed: Feed, mesh: Mesh, steps_per_call: int):
        """Compiles nothing yet.

        Args:
          step: of `training.step_function`.
          feed: from the step on at which the run goes on.
          mesh: from `parallel.make_mesh`.
          steps_per_call: at most so many.
        """
        self._feed, self._mesh, self._length = feed, mesh, steps_per_call
        self._call = training.make_train_call(
            step, feed.batch, steps_per_call=steps_per_call, mesh=mesh
        )

    def __call__(self, state: TrainState, most: int) -> tuple[TrainState, dict[str, Any], int]:
        """At most `most` steps: (state, logs [at least so many], how many were made)."""
        count = min(most, self._length)
        given = self._feed.take(count, self._length)
        # `device_put` would ask all processes whether they give the same, and wait for them.
        whole = parallel.replicated(self._mesh)
        number = jax.make_array_from_process_local_data(whole, np.array(count, np.int32))
        return *self._call(state, self._feed.stored, given, number), count


class WithHeldOut:
    """A stream of training batches that each have one of held-out examples beside them."""

    def __init__(self, stream: Any, others: Any):
        """Takes two streams of equal batches; all but the batches is the first one's."""
        self._stream, self._others = stream, others
        self.steps_per_epoch, self.num_examples = stream.steps_per_epoch, stream.num_examples
        self.specs, self.missing = stream.specs, stream.missing
        self.labelled_per_epoch = stream.labelled_per_epoch

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """{key: [H, W] or [H, W, C]} of one example."""
        return self._stream.shapes

    @property
    def layout(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """{key: (shape, type)} of the arrays of one example and of the held-out one beside it."""
        return look_ahead.beside(self._stream.layout, self._others.layout)

    def example_ids(self, step: int) -> list[str]:
        """The ids of those of a batch that are trained on."""
        return self._stream.example_ids(step)

    def digest(self) -> str:
        """Of the examples of both."""
        return f"{self._stream.digest()} {self._others.digest()}"

    def batches(self, start_step: int = 0) -> Iterator[dict[str, np.ndarray]]:
        """See `mtl_jax.look_ahead.beside`."""
        pairs = zip(self._stream.batches(start_step), self._others.batches(start_step), strict=True)
        for batch, others in pairs:
            yield look_ahead.beside(batch, others)
