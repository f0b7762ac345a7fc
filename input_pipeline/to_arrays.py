"""Writes prepared data as plain arrays; Streets are drawn straight into them. See `arrays`."""

import contextlib
import errno
import fcntl
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import tqdm
from PIL import Image

from input_pipeline import arrays
from input_pipeline.errors import DatasetError
from input_pipeline.labels import LabelSpec
from input_pipeline.streets import dataset, workers

_BYTE_MAPS = ("image", "semseg", "parts")  # which the renderer's processes send as PNG
_STREETS_DTYPES = {
    **dict.fromkeys(_BYTE_MAPS, np.uint8),
    "depth": np.float16,
    "instance": np.uint16,
    "normals": np.float16,
}


def streets(configuration: str, folder: str | os.PathLike) -> arrays.Arrays:
    """Draws Streets straight into arrays, without TensorFlow.

    Args:
      configuration: e.g. '96x192_small'; '' is the default.
      folder: to write; it must not be there.

    Raises:
      DatasetError: there is no such configuration, or the folder is there already.
    """
    name = configuration or next(iter(dataset.CONFIGURATIONS))
    if name not in dataset.CONFIGURATIONS:
        raise DatasetError(
            f"There is no configuration {name!r} of 'streets' to draw into arrays; expected one of "
            f"{', '.join(dataset.CONFIGURATIONS)}."
        )
    scenes = dataset.CONFIGURATIONS[name]
    with Writer(folder, f"streets/{name}", dataset.label_specs()) as writer:
        for number, split in enumerate(dataset.SPLITS):
            count = getattr(scenes, split)
            drawn = workers.examples(scenes.seed, number, count, scenes.height, scenes.width)
            bar = tqdm.tqdm(drawn, total=count, desc=f"drawing streets, {split}", unit="image")
            examples = (
                (dataset.example_id(split, index), _decoded(example))
                for index, example in enumerate(bar)
            )
            writer.write(split, examples, count, _STREETS_DTYPES)
    return arrays.Arrays(folder)


def prepared(builder: Any, folder: str | os.PathLike) -> arrays.Arrays:
    """Writes a prepared data set as arrays.

    Args:
      builder: of `datasets.prepare`.
      folder: to write; it must not be there.

    Raises:
      DatasetError: the images differ in size, or the folder is there already.
    """
    from input_pipeline import records  # which imports TensorFlow

    specs = builder.label_specs
    dtypes = {key: builder.info.features[key].np_dtype for key in specs}
    with Writer(folder, builder.info.full_name, specs) as writer:
        for split in builder.info.splits:
            found = records.Records(builder, split, tuple(specs))
            writer.write(split, _examples(found, split), found.num_examples, dtypes)
    return arrays.Arrays(folder)


def _examples(found: Any, split: str) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    bar = tqdm.tqdm(range(found.num_examples), desc=f"writing {split}", unit="image")
    for index in bar:
        (name,) = found.ids(np.array([index]))
        yield name, found.example(index)


def _decoded(example: dict[str, Any]) -> dict[str, np.ndarray]:
    """Of what the renderer's processes send."""
    return {
        key: np.asarray(Image.open(io.BytesIO(value))) if key in _BYTE_MAPS else value
        for key, value in example.items()
    }


class Writer:
    """Writes a folder of arrays, which appears when all of it is written.

    Use it as a context manager: `write` every split.
    """

    def __init__(self, folder: str | os.PathLike, name: str, specs: Mapping[str, LabelSpec]):
        """Takes the name of the data set and what its arrays mean.

        Raises:
          DatasetError: the folder is there already.
        """
        self._folder = Path(folder).expanduser().absolute()
        self._partial = self._folder.with_name(f"{self._folder.name}.incomplete")
        self._check_absent()
        self._described: dict[str, Any] = {
            "version": arrays.VERSION,
            "dataset": name,
            "splits": {},
            "specs": {key: spec.as_dict() for key, spec in specs.items()},
        }

    def __enter__(self) -> "Writer":
        """Removes what an earlier attempt left, which a kill may have ended.

        Raises:
          DatasetError: another process writes this folder, or nothing can be written there.
        """
        lock = self._partial / ".lock"
        with self._writing():
            self._partial.mkdir(parents=True, exist_ok=True)
            self._locked = lock.open("w")
            if not _take(self._locked, lock):
                self._locked.close()
                raise DatasetError(
                    f"Another process is writing {self._folder}. Wait for its end, or name another "
                    "folder."
                )
            for path in self._partial.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path != lock:
                    path.unlink()
        try:
            self._check_absent()  # as another process may have ended in between
        except DatasetError:
            self._remove()
            raise
        return self

    def __exit__(self, error_type, error, traceback) -> None:
        """Gives the folder its name if all went well, and leaves nothing if not."""
        if error is not None:
            self._remove()
            return
        try:
            with self._writing():
                text = json.dumps(self._described, indent=1)
                (self._partial / arrays.FILE).write_text(text, encoding="utf-8")
                os.replace(self._partial, self._folder)  # locked, as nobody is to empty it
                (self._folder / ".lock").unlink()
        except DatasetError:
            self._remove()
            raise
        self._locked.close()

    def _remove(self) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)
        self._locked.close()

    def _check_absent(self) -> None:
        if self._folder.exists():
            raise DatasetError(
                f"{self._folder} is there already; name another folder, or remove it."
            )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """What cannot be written is the user's to mend."""
        try:
            yield
        except OSError as error:
            raise DatasetError(
                f"{self._folder} cannot be written ({error.strerror}). Make room, or name another "
                "folder."
            ) from error

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
          DatasetError: the arrays differ in size, a type does not hold a value, there are not
            `count` examples, or the disk is full.
        """
        directory = self._partial / split
        with self._writing():
            directory.mkdir()
        files: dict[str, _File] = {}
        ids: list[str] = []
        try:
            for name, example in examples:
                for key, value in example.items():
                    if key not in files:
                        with self._writing():
                            path, dtype = directory / f"{key}.npy", np.dtype(dtypes[key])
                            files[key] = _File(path, dtype, (count, *value.shape))
                    with self._writing():
                        problem = files[key].append(value)
                    if problem:
                        first = f" of {ids[0]}" if ids else ""
                        raise DatasetError(
                            f"{split} {name}, key {key!r}: {problem.format(first=first)}"
                        )
                ids.append(name)
            if len(ids) != count:
                raise DatasetError(f"{split}: expected {count} examples, found {len(ids)}.")
            with self._writing():
                for file in files.values():
                    file.close()
                np.save(directory / f"{arrays.IDS}.npy", np.array(ids))
        finally:
            for file in files.values():
                with contextlib.suppress(OSError):  # what is to be said has been said
                    file.close()
        self._described["splits"][split] = count


class _File:
    """A .npy file that is written example by example.

    It is not mapped into memory: on a full disk that would end the program by a signal.
    """

    def __init__(self, path: Path, dtype: np.dtype, shape: tuple[int, ...]):
        """Writes the header. Raises OSError."""
        self._shape, self._dtype = shape[1:], dtype
        self._stream = path.open("wb")
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "shape": shape}
        np.lib.format.write_array_header_1_0(self._stream, header | {"fortran_order": False})

    def append(self, value: np.ndarray) -> str:
        """Writes one example; what is wrong with it instead, '{first}' being whose size counts."""
        if value.shape != self._shape:
            return (
                f"expected an array of {self._shape} like that{{first}}, found {value.shape}. "
                "Arrays of a split have one size; prepare a configuration of one size."
            )
        with np.errstate(over="ignore", invalid="ignore"):  # which the comparison tells
            stored = np.asarray(value, self._dtype)
            if not np.array_equal(stored.astype(value.dtype), value):
                return f"values from {value.min()} to {value.max()} do not fit into {self._dtype}."
        self._stream.write(stored.tobytes())
        return ""

    def close(self) -> None:
        """Writes what is left. Raises OSError."""
        self._stream.close()


def _take(file: IO, path: Path) -> bool:
    """Locks a file that is at a path; False if another process has it, or has taken it away."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError as error:  # some network file systems have no locks
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
    return True
