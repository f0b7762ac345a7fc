"""Finds the files of a folder: which belong to one example, and which examples to a split."""

import fnmatch
import os
import pathlib
from collections.abc import Mapping

from input_pipeline import checks, sources
from input_pipeline.conversion import Item, Items
from input_pipeline.datasets._folder_keys import KeySpec
from input_pipeline.datasets._folder_spec import UNUSED, FolderSpec
from input_pipeline.errors import DatasetError, did_you_mean

_IMAGES = (".png", ".jpg", ".jpeg")

Files = Mapping[str, Mapping[str, sources.File]]  # by key and id


def any_image(spec: FolderSpec, folder: str | os.PathLike) -> bool:
    """Whether there is any photograph in the folder."""
    return os.path.isdir(folder) and bool(_files_of(spec.keys[0], sources.Tree(folder)))


def find(spec: FolderSpec, folder: str | os.PathLike) -> Items:
    """The examples of each split, sorted by id.

    Raises:
      DatasetError: a key has no files, an example lacks one, or the splits do not cover the
        examples, each once.
    """
    tree = sources.Tree(folder)
    problems = checks.Problems(folder)
    found = {key.key: _files_of(key, tree) for key in spec.keys}
    for key in spec.keys:
        if not found[key.key]:
            there = _what_is_there(tree.root, key.files)
            problems.add(f"{spec.file}: no files for", f"{key.key!r} ({key.files}): {there}")
    problems.raise_if_any(
        "Mend `files` in the YAML; or, if the files are elsewhere, name their folder with "
        "--manual_dir."
    )
    names = sorted(found["image"])
    for key, files in found.items():
        problems.add(f"{key!r} without 'image'", *sorted(files.keys() - found["image"].keys()))
    problems.raise_if_any()
    splits = _splits(spec, tree, names)
    for split, of_split in splits.items():
        for key in spec.keys:
            missing = [name for name in of_split if name not in found[key.key]]
            if split != UNUSED and not key.optional:
                problems.add(f"split {split!r}: without {key.key!r}", *missing)
    problems.raise_if_any(
        "Add the files; or say 'optional: true' for that key in the YAML, and examples that lack "
        "it are unlabelled."
    )
    return {
        split: [
            Item(name, {key: files[name] for key, files in found.items() if name in files})
            for name in of_split
        ]
        for split, of_split in splits.items()
        if split != UNUSED
    }


def _what_is_there(root: pathlib.Path, pattern: str) -> str:
    """Why no file fits a pattern: its folder is not there, is empty, or has other files."""
    folder = root / pattern.partition("*")[0].rpartition("/")[0]
    missing = ""
    while not folder.is_dir():
        missing, folder = folder.name, folder.parent
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if missing:
        hint = did_you_mean(missing, names)
        return f"{folder} has no folder {missing!r}.{hint}"
    return f"{folder} has {checks.first(names)}" if names else f"{folder} is empty"


def _files_of(key: KeySpec, tree: sources.Tree) -> dict[str, sources.File]:
    """By id. A pattern that says no ending finds images and arrays of any kind."""
    return tree.ids(key.files, suffixes=(*_IMAGES, ".npy") if key.files.endswith("*") else ())


def _splits(spec: FolderSpec, tree: sources.Tree, names: list[str]) -> dict[str, list[str]]:
    """The ids of each split."""
    problems = checks.Problems(spec.file)
    known = set(names)
    splits, times = {}, dict.fromkeys(names, 0)
    for split, wanted in spec.splits.items():
        # An id of a list may have characters that mean something in a pattern.
        is_exact = isinstance(wanted, str)
        chosen = set()
        for pattern in _listed(tree, wanted) if is_exact else wanted:
            matching = {pattern} & known
            if not is_exact:
                matching |= {name for name in names if fnmatch.fnmatchcase(name, pattern)}
            if not matching:
                problems.add(f"split {split!r}: no example fits", pattern)
            chosen |= matching
        splits[split] = sorted(chosen)
        for name in chosen:
            times[name] += 1
    nowhere = [name for name, count in times.items() if count == 0]
    if nowhere:
        problems.add(f"in no split (list them under {UNUSED!r} to leave them out)", *nowhere)
    several = [name for name, count in times.items() if count > 1]
    if several and not spec.overlap:
        problems.add("in several splits (overlap: true allows it)", *several)
    problems.raise_if_any()
    return splits


def _listed(tree: sources.Tree, name: str) -> list[str]:
    """The ids in a text file, one on each line."""
    file = tree.file(name)
    if file is None:
        raise DatasetError(f"{tree.root / name}: there is no such list of ids.")
    return sources.read_lines(file)
