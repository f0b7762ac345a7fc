"""Prepared data as plain arrays, which are read without TensorFlow: a folder of .npy files.

    arrays.json           what the data are, and the `LabelSpec` of every key
    <split>/<key>.npy     [N, H, W] or [N, H, W, C], in a small type that holds every value
    <split>/ids.npy       [N] text

`python -m input_pipeline.prepare --dataset=... --arrays=<folder>` writes it. The files are mapped
into memory, so opening them reads nothing, and they hold numbers and text, never code.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from input_pipeline import _thread_batches
from input_pipeline._order import permutation
from input_pipeline.errors import DatasetError
from input_pipeline.held_out import Part
from input_pipeline.labels import LabelSpec

PREFIX = "arrays:"  # in front of the folder, where a data set is named
FILE, VERSION, IDS = "arrays.json", 1, "ids"
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
        file = self.path / FILE
        try:
            described = json.loads(_regular(file).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise DatasetError(
                f"{file} cannot be read ({error}). Write the arrays with\n"
                "  python -m input_pipeline.prepare --dataset=<data set> "
                f"--arrays={self.path}"
            ) from error
        version = described.get("version") if isinstance(described, dict) else None
        if version != VERSION:
            raise DatasetError(
                f"{file} is of version {version!r:.40}; expected {VERSION}. Write the arrays again."
            )
        try:
            self.name, self.splits, self.label_specs = _understood(described)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DatasetError(
                f"{file} is damaged ({type(error).__name__}: {str(error)[:200]}). Write the arrays "
                "again."
            ) from error

    def open(self, split: str, key: str) -> np.ndarray:
        """One array of a split, mapped into memory. Raises DatasetError if its file is damaged."""
        file, count = self.path / split / f"{key}.npy", self.splits[split]
        try:
            array = np.lib.format.open_memmap(_regular(file), mode="r")  # which refuses objects
        # A changed header ends in what Python's own parser raises, TokenError for example.
        except Exception as error:
            raise DatasetError(
                f"{file} is damaged ({type(error).__name__}: {str(error)[:200]}). Write the arrays "
                "again."
            ) from error
        if key == IDS:
            fits = array.dtype.kind == "U" and array.ndim == 1
        else:
            spec = self.label_specs[key]
            channels = (spec.channels,) if spec.channels else ()
            fits = np.can_cast(array.dtype, spec.dtype) and array.shape[3:] == channels
            fits = fits and array.ndim == 3 + len(channels) and 0 not in array.shape
        if not fits:
            raise DatasetError(
                f"{file} holds {array.dtype} of shape {list(array.shape)}, which is not what "
                f"{FILE} says of {key!r}. Write the arrays again."
            )
        if len(array) != count:
            raise DatasetError(
                f"{file} holds {len(array)} examples; expected {count}, as {FILE} says. Write the "
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
        sizes = {key: array.shape[1:3] for key, array in self._stored.items()}
        if len(set(sizes.values())) > 1:
            raise DatasetError(
                f"{self.name}: expected arrays of one size, found {sizes}. Write the arrays again."
            )
        self.stored_dtypes = {key: array.dtype for key, array in self._stored.items()}
        self._ids = arrays.open(whole, IDS)[bounds]
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

    def batches(self, *arguments: Any) -> Iterator[dict[str, np.ndarray]]:
        """See `_thread_batches.batches`."""
        return _thread_batches.batches(self, *arguments)


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


def _regular(path: Path) -> Path:
    """The path, if a file is there: reading a named pipe would wait for somebody to write."""
    if path.exists() and not path.is_file():
        raise OSError("it is no file")
    return path


def _understood(described: dict[str, Any]) -> tuple[str, dict[str, int], dict[str, LabelSpec]]:
    """(data set, {split: number of examples}, {key: LabelSpec}) of what the file holds.

    Raises:
      KeyError, TypeError, ValueError, AttributeError: it is damaged.
    """
    name, splits = described["dataset"], described["splits"]
    specs = {key: LabelSpec(**_tuples(spec)) for key, spec in described["specs"].items()}
    if not isinstance(name, str) or not splits:
        raise ValueError("it names no data set, or no split")
    for split, count in splits.items():
        if type(count) is not int or count < 1:
            raise ValueError(f"the split {split[:40]!r} has {count!r:.40} examples")
    for word in (*splits, *specs):  # names of files
        if not re.fullmatch(r"\w+", word):
            raise ValueError(f"{word[:40]!r} is no name of a split or a key")
    for key, spec in specs.items():
        if spec.dtype not in ("uint8", "int32", "float32") or type(spec.channels) is not int:
            raise ValueError(f"{key!r} is of {spec.dtype!r:.40}, {spec.channels!r:.40} channels")
    return name, splits, specs
