"""Reads the YAML that describes a folder of one's own: see `docs/datasets.md`, section `folder`."""

import dataclasses
import os
import re
from collections.abc import Mapping
from typing import Any

from input_pipeline.datasets import _folder_keys, _yaml
from input_pipeline.datasets._folder_keys import KeySpec
from input_pipeline.datasets._yaml import Section, is_flag, is_list, is_text, is_whole
from input_pipeline.errors import DatasetError

UNUSED = "unused"  # the split of examples that are in no other
_MOST_PIXELS = 100_000_000


@dataclasses.dataclass(frozen=True)
class FolderSpec:
    """The whole file.

    Attributes:
      file: its path.
      keys: 'image' first.
      splits: by name, patterns of ids, or the name of a text file with an id per line.
      manual_dir: where the files are, unless somebody says otherwise.
      size: (height, width) to resize to, or None.
      description: for people.
      overlap: whether an example may be in several splits.
    """

    file: str
    keys: tuple[KeySpec, ...]
    splits: Mapping[str, tuple[str, ...] | str]
    manual_dir: str
    size: tuple[int, int] | None = None
    description: str = ""
    overlap: bool = False


def read(file: str | os.PathLike) -> FolderSpec:
    """Reads and checks the file.

    Raises:
      DatasetError: it is missing or no YAML, or says something that is unknown or makes no sense.
    """
    file = os.fspath(file)
    contents = _yaml.load(file)
    known = ("keys", "splits", "manual_dir", "size", "description", "overlap")
    top = Section(file, "", contents, known)
    found = top.get("keys", "a mapping", lambda v: isinstance(v, Mapping), {})
    if "image" not in found or len(found) < 2:
        raise top.error("keys", "'image' and at least one label", list(found))
    names = ["image", *(key for key in found if key != "image")]
    here = os.path.dirname(os.path.abspath(file))
    expected = f"[height, width] of at most {_MOST_PIXELS // 10**6} million pixels"
    size = top.get("size", expected, _is_size)
    manual_dir = os.path.expanduser(top.get("manual_dir", "a folder", is_text, "."))
    keys = tuple(_folder_keys.read(file, key, found[key]) for key in names)
    _check_stars(file, keys)
    return FolderSpec(
        file=file,
        keys=keys,
        splits=_read_splits(top),
        manual_dir=os.path.normpath(os.path.join(here, manual_dir)),
        size=tuple(size) if size else None,
        description=top.get("description", "text", is_text, ""),
        overlap=top.get("overlap", "true or false", is_flag, False),
    )


def _is_size(value: Any) -> bool:
    return is_list(value, is_whole, 2) and min(value) > 0 and value[0] * value[1] <= _MOST_PIXELS


def _check_stars(file: str, keys: tuple[KeySpec, ...]) -> None:
    """Ids are what the stars stand for, so every key needs as many."""
    image = keys[0].files
    for spec in keys[1:]:
        if spec.files.count("*") != image.count("*"):
            raise DatasetError(
                f"{file}: keys.{spec.key}.files: expected as many * as in that of 'image', "
                f"{image}, found {spec.files}."
            )


def _read_splits(top: Section) -> dict[str, tuple[str, ...] | str]:
    expected = (
        "for each split, but none called 'all', a list of patterns of ids, or the name of a .txt "
        "file"
    )

    def is_split(name, value):
        named = is_text(name) and re.fullmatch(r"[a-z][a-z0-9_]*", name) and name != "all"
        is_list_of_ids = is_list(value, is_text) and value
        return named and (is_list_of_ids or (is_text(value) and value.endswith(".txt")))

    found = top.get("splits", expected, lambda v: isinstance(v, Mapping) and v, None)
    if found is None:
        raise top.error("splits", expected, None)
    for name, value in found.items():
        if not is_split(name, value):
            raise top.error("splits", expected, {name: value})
    if set(found) == {UNUSED}:
        raise top.error("splits", f"a split other than '{UNUSED}'", found)
    return {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}
