"""Prepared data as plain arrays, which are read without TensorFlow: a folder of .npy files.

    arrays.json           what the data are, and the `LabelSpec` of every key
    <split>/<key>.npy     [N, H, W] or [N, H, W, C], in a small type that holds every value
    <split>/ids.npy       [N] text

`python -m input_pipeline.prepare --dataset=... --arrays=<folder>` writes it. The files are mapped
into memory, so opening them reads nothing, and they hold numbers and text, never code.
"""

import concurrent.futures
import json
import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from input_pipeline import _cores
from input_pipeline._order import permutation
from input_pipeline.errors import DatasetError
from input_pipeline.held_out import Part
from input_pipeline.labels import LabelSpec

PREFIX = "arrays:"  # in front of the folder, where a data set is named
_FILE, _VERSION, _IDS = "arrays.json", 1, "ids"
_PREFETCHED_BATCHES = 2
_PART = re.compile(r"(\w+)(?:\[(-?\d+%?)?:(-?\d+%?)?\])?")


class Arrays:
    """A folder of arrays; it stands in for a builder.

    Attributes:
      path: the folder.
      name: of the data set that they were made from.
      label_specs: {key: LabelSpec}.
      splits: {split: number of examples}.
    """

    def __init__(self, folder: str | os.PathLike):
        """Reads what the folder holds. Raises DatasetError if it holds no arrays."""
        self.path = Path(folder).expanduser()
        try:
            described = json.loads((self.path / _FILE).read_text())
        except (OSError, ValueError) as error:
            raise DatasetError(
                f"{self.path / _FILE} cannot be read ({error}). Write the arrays with\n"
                "  python -m input_pipeline.prepare --dataset=<data set> "
                f"--arrays={self.path}"
            ) from error
        if described.get("version") != _VERSION:
            raise DatasetError(
                f"{self.path / _FILE} is of version {described.get('version')}; expected "
                f"{_VERSION}. Write the arrays again."
            )
        self.name: str = described["dataset"]
        self.splits: dict[str, int] = described["splits"]
        self.label_specs = {k: LabelSpec(**_tuples(v)) for k, v in described["specs"].items()}

    def open(self, split: str, key: str) -> np.ndarray:
        """One array of a split, mapped into memory. Raises DatasetError if its file is damaged."""
        file, count = self.path / split / f"{key}.npy", self.splits[split]
        try:
            array = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DatasetError(f"{file} is damaged ({error}). Write the arrays again.") from error
        if len(array) != count:
            raise DatasetError(
                f"{file} holds {len(array)} examples; expected {count}, as {_FILE} says. Write the "
                "arrays again."
            )
        return array


class ArrayRecords:
    """One split, or a part of one; the attributes and methods are those of `records.Records`."""

    def __init__(self, arrays: Arrays, split: str, keys: Sequence[str], part: Part | None = None):
        """Opens a split.

        Args:
          arrays: the folder.
          split: e.g. 'train', or a part of it: 'train[:100]', 'train[80%:]'.
          keys: 'image' and label keys.
          part: of that, what is held out or the rest; None = all of it.

        Raises:
          DatasetError: there is no such split or part, a file is damaged, 'image' is not among the
            keys, or the data have none of the label keys.
        """
        self.name = f"{arrays.path} ({arrays.name}), split {split!r}"
        known = arrays.label_specs
        self.specs = {key: known[key] for key in keys if key in known}
        self.missing = tuple(key for key in keys if key not in known)
        if "image" not in self.specs or len(self.specs) < 2:
            raise DatasetError(
                f"{self.name}: asked for the keys {sorted(keys)}; expected 'image' and at least "
                f"one label of the data set, which has {sorted(known)}."
            )
        whole, bounds = self._part(arrays, split)
        self._stored = {key: arrays.open(whole, key)[bounds] for key in self.specs}
        self.stored_dtypes = {key: array.dtype for key, array in self._stored.items()}
        self._ids = arrays.open(whole, _IDS)[bounds]
        self._rows = np.arange(len(self._ids))
        if part is not None:
            self._rows = part.indices(len(self._ids))
            self.name += part.words
        self.num_examples = len(self._rows)
        self.labelled = dict.fromkeys(self.specs, self.num_examples)

    def _part(self, arrays: Arrays, split: str) -> tuple[str, slice]:
        match = _PART.fullmatch(split)
        if not match or match[1] not in arrays.splits:
            raise DatasetError(
                f"{self.name}: there is no such split; expected one of "
                f"{', '.join(arrays.splits)}, or a part of it, such as 'train[:80%]'."
            )
        count = arrays.splits[match[1]]
        part = slice(*(_boundary(text, count) for text in match.groups()[1:]))
        if not range(count)[part]:
            raise DatasetError(
                f"{self.name}: expected at least one example, found none of {count} in "
                f"{match[1]!r}."
            )
        return match[1], part

    def epoch_order(self, seed: int, epoch: int) -> np.ndarray:
        """int64 [num_examples], the indices of all examples as an epoch visits them."""
        return permutation(self.num_examples, seed, epoch)

    def example(self, index: int) -> dict[str, np.ndarray]:
        """The arrays of one example by key, in the dtype and rank of their specs."""
        row = self._rows[index]
        return {key: self._stored[key][row].astype(s.dtype) for key, s in self.specs.items()}

    def ids(self, indices: np.ndarray) -> list[str]:
        """The `id` of each example."""
        return [str(name) for name in self._ids[self._rows[indices]]]

    def image_sizes(self, indices: np.ndarray) -> list[tuple[int, int]]:
        """(height, width) of each example's image: all have one size."""
        return [self._stored["image"].shape[1:3]] * len(indices)

    def describe(self, indices: np.ndarray, what: str) -> str:
        """For errors: the split, `what` in it, and the examples by id."""
        return f"{self.name}, {what}, one of the examples {', '.join(self.ids(np.unique(indices)))}"

    def batches(
        self,
        steps: range,
        choose: Callable[[int], tuple[np.ndarray, np.ndarray]],
        change: Callable[[dict[str, np.ndarray], np.ndarray], dict[str, np.ndarray]],
        batch_size: int,
        size: tuple[int, int] | None,
        describe: Callable[[int], str],
        specs: Mapping[str, LabelSpec] | None = None,
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yields batches in order, made by as many threads as there are cores.

        Arguments and errors are those of `_tf_batches.batches`.
        """
        del batch_size, size, specs
        waiting: deque[tuple[int, list[concurrent.futures.Future]]] = deque()
        pool = concurrent.futures.ThreadPoolExecutor(_cores.available())

        def make(index, numbers):
            return change(self.example(index), numbers)

        def start(step):
            waiting.append((step, [pool.submit(make, *one) for one in zip(*choose(step))]))

        try:
            ahead = iter(steps)
            for step in (step for _, step in zip(range(1 + _PREFETCHED_BATCHES), ahead)):
                start(step)
            while waiting:
                step, examples = waiting.popleft()
                try:
                    found = [example.result() for example in examples]
                except ValueError as error:  # as OptionError and DatasetError are
                    raise DatasetError(f"{describe(step)}: {error}") from error
                for following in ahead:
                    start(following)
                    break
                yield {key: np.stack([one[key] for one in found]) for key in found[0]}
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class Writer:
    """Writes a folder of arrays, which appears when all of it is written.

    Use it as a context manager: `put` every example of every split in order.
    """

    def __init__(self, folder: str | os.PathLike, name: str, specs: Mapping[str, LabelSpec]):
        """Takes the name of the data set and what its arrays mean.

        Raises:
          DatasetError: the folder is there already.
        """
        self._folder = Path(folder).expanduser()
        if self._folder.exists():
            raise DatasetError(
                f"{self._folder} is there already; name another folder, or remove it."
            )
        self._partial = self._folder.with_name(f"{self._folder.name}.incomplete")
        self._described: dict[str, Any] = {
            "version": _VERSION,
            "dataset": name,
            "splits": {},
            "specs": {key: spec.as_dict() for key, spec in specs.items()},
        }

    def __enter__(self) -> "Writer":
        """Removes what an earlier attempt left."""
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)
        return self

    def __exit__(self, error_type, error, traceback) -> None:
        """Gives the folder its name if all went well."""
        if error is not None:
            return
        (self._partial / _FILE).write_text(json.dumps(self._described, indent=1))
        os.replace(self._partial, self._folder)

    def write(
        self,
        split: str,
        examples: Iterator[tuple[str, Mapping[str, np.ndarray]]],
        count: int,
        dtypes: Mapping[str, Any],
    ) -> None:
        """Writes a split.

        Args:
          split: its name.
          examples: `count` pairs of an id and arrays by key, all of one size.
          count: of them.
          dtypes: {key: the type that an array is stored in}; it holds every value.

        Raises:
          DatasetError: the arrays differ in size, or a type does not hold a value.
        """
        directory = self._partial / split
        directory.mkdir()
        stored: dict[str, np.memmap] = {}
        ids: list[str] = []
        for index, (name, example) in enumerate(examples):
            for key, value in example.items():
                if key not in stored:
                    file, shape = directory / f"{key}.npy", (count, *value.shape)
                    stored[key] = np.lib.format.open_memmap(
                        file, mode="w+", dtype=np.dtype(dtypes[key]), shape=shape
                    )
                if value.shape != stored[key].shape[1:]:
                    raise DatasetError(
                        f"{split} {name}, key {key!r}: expected an array of "
                        f"{stored[key].shape[1:]} like that of {ids[0]}, found {value.shape}. "
                        "Arrays of a split have one size; prepare a configuration of one size."
                    )
                stored[key][index] = value
                if not np.array_equal(stored[key][index].astype(value.dtype), value):
                    raise DatasetError(
                        f"{split} {name}, key {key!r}: values from {value.min()} to {value.max()} "
                        f"do not fit into {dtypes[key]}."
                    )
            ids.append(name)
        for array in stored.values():
            array.flush()
        np.save(directory / f"{_IDS}.npy", np.array(ids))
        self._described["splits"][split] = count


def _boundary(text: str | None, count: int) -> int | None:
    """'80%' of 10 is 8; TFDS rounds to the nearest as well."""
    if text is None:
        return None
    return round(int(text[:-1]) * count / 100) if text.endswith("%") else int(text)


def _tuples(value: Any) -> Any:
    """JSON's lists, and those inside them, as the tuples that they were."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
