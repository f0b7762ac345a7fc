"""A folder of one's own: files by key, and a small YAML that says what they mean.

The data set is called after the YAML, 'folder/path/to/potholes.yaml'. `docs/datasets.md` has the
options, `docs/examples` some files.
"""

import dataclasses
import fnmatch
import hashlib
import os
import pathlib
from typing import Any

import numpy as np

from input_pipeline import _images, checks, labels, release, sources
from input_pipeline._tensorflow import tfds
from input_pipeline.conversion import Item, Items
from input_pipeline.datasets import _folder_spec
from input_pipeline.datasets._folder_spec import FolderSpec, KeySpec
from input_pipeline.errors import DatasetError

_IMAGES = (".png", ".jpg", ".jpeg")
_UNUSED = "unused"  # the split of examples that are in no other


@dataclasses.dataclass
class FolderConfig(tfds.core.BuilderConfig):
    """A configuration for each YAML, and for each version of it.

    Attributes:
      spec: what the YAML says.
      manual_dir: where the files are, unless somebody says otherwise.
    """

    spec: FolderSpec | None = None
    manual_dir: str = ""


def builder_config(path: str) -> FolderConfig:
    """The configuration that the YAML file `path` describes.

    Its name has a hash of the file, so records are never taken for those of another version of it.

    Raises:
      DatasetError: there is no such file, or it is wrong.
    """
    if not path:
        raise DatasetError(
            "The data set 'folder' needs the path of a YAML file: 'folder/path/to/file.yaml'."
        )
    spec = _folder_spec.read(path)
    digest = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()[:8]
    return FolderConfig(
        name=f"{pathlib.Path(path).stem}-{digest}",
        description=spec.description,
        spec=spec,
        manual_dir=spec.manual_dir,
    )


@dataclasses.dataclass(frozen=True)
class Convert:
    """Reads one example of a folder."""

    keys: tuple[KeySpec, ...]
    size: tuple[int, int] | None

    def __call__(self, item: Item) -> dict[str, Any]:
        example = {}
        for spec in self.keys:
            if spec.key not in item.files:
                continue
            file = item.files[spec.key]
            if spec.key == "image":
                example["image"] = self._image(file, spec)
            else:
                value = decode(read(file, spec), spec, f"{file}, key {spec.key!r}")
                # Checked before it is resized, because a wrong value may vanish then.
                labels.check(value, spec.label, f"{file}, key {spec.key!r}")
                example[spec.key] = value
        self._check_sizes(item, example)
        if self.size is None:
            return example
        pixels = example.pop("image").pixels
        resized = {key: _images.resize_nearest(value, self.size) for key, value in example.items()}
        return {"image": _images.resize_image(pixels, self.size), **resized}

    def _image(self, file: sources.File, spec: KeySpec) -> _images.Photo:
        if not spec.array:
            return _images.read_photo(file)
        pixels = _images.read_npz(file, key="image", array=spec.array)
        labels.check(pixels, spec.label, f"{file}, key 'image'")
        return _images.Photo(pixels, _images.png(pixels))

    def _check_sizes(self, item: Item, example: dict[str, Any]) -> None:
        expected = example["image"].pixels.shape[:2]
        for key, value in example.items():
            if key != "image" and value.shape[:2] != expected:
                raise DatasetError(
                    f"{item.files[key]}, key {key!r}: expected {expected[0]}×{expected[1]} "
                    f"(height×width), the size of {item.files['image']}, found "
                    f"{value.shape[0]}×{value.shape[1]}."
                )


def read(file: sources.File, spec: KeySpec) -> np.ndarray:
    """The values of a label file as they are: [H, W] or, of normals, [H, W, 3].

    Raises:
      DatasetError: the file does not load, or is of another number of bits than the YAML says.
    """
    suffix = pathlib.PurePosixPath(file.name).suffix.lower()
    if suffix == ".npz":
        value = _images.read_npz(file, key=spec.key, array=spec.array)
    elif suffix == ".npy":
        value = _images.read_npy(file, key=spec.key)
    elif spec.label.kind == "normals":
        return _images.read_rgb(file, key=spec.key)
    elif spec.bits == 16:
        return _images.read_uint16(file, key=spec.key)
    else:
        return _images.read_ids(file, key=spec.key)
    if spec.label.channels == 0 and value.ndim == 3 and value.shape[2] == 1:
        return value[..., 0]
    return value


def decode(raw: np.ndarray, spec: KeySpec, where: str) -> np.ndarray:
    """Turns the values of a file into those of a record, as the YAML says.

    Args:
      raw: what `read` returned.
      spec: of the key.
      where: file and key, for messages.

    Raises:
      DatasetError: an id is not listed, or a value is outside the range and that is not allowed.
    """
    if spec.label.kind in ("classes", "instances"):
        return _decode_ids(raw, spec, where)
    if not np.isfinite(raw).all() and spec.label.kind == "normals":
        raise DatasetError(f"{where}: expected finite values, found NaN or infinity.")
    value = raw.astype(np.float64) / spec.divide_by + spec.offset
    if spec.label.kind == "normals":
        return _decode_normals(value, spec, where)
    unknown = np.isin(raw, spec.unknown)
    low, high = spec.label.valid_range
    if spec.outside_range == "unknown":
        unknown |= (value < low) | (value > high)
    if ((value == 0) & ~unknown).any():
        raise DatasetError(
            f"{where}: expected values over 0, found 0 where the file is not one of the values for "
            f"unknown, {list(spec.unknown)}. Records keep 0 for what is unknown."
        )
    return np.where(unknown, 0, value).astype(np.float32)


def _decode_ids(raw: np.ndarray, spec: KeySpec, where: str) -> np.ndarray:
    if not np.issubdtype(raw.dtype, np.integer):
        raise DatasetError(f"{where}: expected whole numbers, found {raw.dtype}.")
    if not spec.ids:
        return raw.astype(np.int64)
    ids = raw.astype(np.int64)
    result = ids.copy()
    for value, number in spec.ids:
        result[ids == value] = number
    listed = np.isin(ids, [value for value, _ in spec.ids])
    if spec.label.kind == "classes" and not listed.all():
        raise DatasetError(
            f"{where}: expected the values that the YAML lists under ids, "
            f"{[value for value, _ in spec.ids]}, found {np.unique(ids[~listed])[:10].tolist()} in "
            f"{(~listed).sum()} of {ids.size} pixels."
        )
    return result


def _decode_normals(value: np.ndarray, spec: KeySpec, where: str) -> np.ndarray:
    if value.ndim != 3 or value.shape[2] != 3:
        raise DatasetError(f"{where}: expected vectors [H, W, 3], found shape {value.shape}.")
    value = np.stack([sign * value[..., axis] for axis, sign in spec.axes], axis=-1)
    if spec.unit_length:
        length = np.linalg.norm(value, axis=-1, keepdims=True)
        value = np.divide(value, length, out=np.zeros_like(value), where=length > 0)
    return value.astype(np.float32)


class Builder(release.ReleaseBuilder):
    """Features: `id`, and the keys of the YAML. See `builder_config`."""

    name = "folder"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 – as TFDS declares it
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    The folder that manual_dir names holds your files; without it, it is the folder of the YAML.
    """

    @property
    def _spec(self) -> FolderSpec:
        return self.builder_config.spec

    @property
    def description(self) -> str:
        """What the YAML says."""
        return self._spec.description or f"Described by {os.path.basename(self._spec.file)}."

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width), or None where images keep their size."""
        return self._spec.size

    @property
    def specs(self) -> dict[str, labels.LabelSpec]:
        """What the YAML says."""
        return {spec.key: spec.label for spec in self._spec.keys}

    @property
    def convert(self) -> Convert:
        """See `Convert`."""
        return Convert(self._spec.keys, self._spec.size)

    def find(self, manual_dir: str | os.PathLike, *, partial: bool = False) -> Items:
        """The examples of each split, sorted by id.

        Raises:
          DatasetError: a key has no files, an example lacks one, or the splits do not cover the
            examples, each once.
        """
        del partial  # There are no official numbers.
        tree = sources.Tree(manual_dir)
        problems = checks.Problems(manual_dir)
        found = {}
        for spec in self._spec.keys:
            # A pattern that says no ending finds images and arrays of any kind.
            suffixes = (*_IMAGES, ".npy") if spec.files.endswith("*") else ()
            found[spec.key] = tree.stems(spec.files, suffixes=suffixes)
            if not found[spec.key]:
                problems.add(f"{self._spec.file}: no files for", f"{spec.key!r} ({spec.files})")
        problems.raise_if_any("Name the folder of the files with --manual_dir.")
        required = {spec.key: found[spec.key] for spec in self._spec.keys if not spec.optional}
        names = checks.partners(problems, "all", required)
        for spec in self._spec.keys:
            alone = sorted(found[spec.key].keys() - found["image"].keys())
            if spec.optional and alone:
                problems.add(f"{spec.key!r} without 'image'", *alone)
        problems.raise_if_any()
        splits = self._splits(tree, names)
        return {
            split: [
                Item(name, {key: files[name] for key, files in found.items() if name in files})
                for name in of_split
            ]
            for split, of_split in splits.items()
            if split != _UNUSED
        }

    def _splits(self, tree: sources.Tree, names: list[str]) -> dict[str, list[str]]:
        """The ids of each split."""
        problems = checks.Problems(self._spec.file)
        splits, times = {}, dict.fromkeys(names, 0)
        for split, wanted in self._spec.splits.items():
            chosen = set()
            for pattern in _listed(tree, wanted) if isinstance(wanted, str) else wanted:
                # An id of a list may have characters that mean something in a pattern.
                exact = isinstance(wanted, str)
                matching = [n for n in names if n == pattern or (not exact and _fits(n, pattern))]
                if not matching:
                    problems.add(f"split {split!r}: no example fits", pattern)
                chosen.update(matching)
            splits[split] = sorted(chosen)
            for name in chosen:
                times[name] += 1
        nowhere = [name for name, count in times.items() if count == 0]
        if nowhere:
            problems.add(f"in no split (list them under {_UNUSED!r} to leave them out)", *nowhere)
        several = [name for name, count in times.items() if count > 1]
        if several and not self._spec.overlap:
            problems.add("in several splits (overlap: true allows it)", *several)
        problems.raise_if_any()
        return splits


def _fits(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern)


def _listed(tree: sources.Tree, name: str) -> list[str]:
    """The ids in a text file, one in a line."""
    file = tree.file(name)
    if file is None:
        raise DatasetError(f"{tree.root / name}: there is no such list of ids.")
    return file.read().decode().split()
