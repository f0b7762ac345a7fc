"""The lists of names that some releases come with: what is in which split, in what order."""

import collections
import os
from collections.abc import Mapping, Sequence

from input_pipeline import sources
from input_pipeline.checks import Problems
from input_pipeline.conversion import Item, Items
from input_pipeline.errors import DatasetError
from input_pipeline.sources import File


def read(file: File) -> list[str]:
    """The names in a text file, one on each line, in its order.

    Raises:
      DatasetError: the file is missing, empty or no text, a line has more than a name, or a name
        occurs twice.
    """
    names = sources.read_lines(file)
    if not names:
        raise DatasetError(f"{file}: expected a list of names, found none.")
    if odd := [name for name in names if len(name.split()) > 1 or "/" in name]:
        raise DatasetError(f"{file}: expected one name on each line, found {odd[0]!r}.")
    name, times = collections.Counter(names).most_common(1)[0]
    if times > 1:
        raise DatasetError(f"{file}: expected every name once, found {name!r} {times} times.")
    return names


def read_all(
    problems: Problems, tree: sources.Tree, paths: Mapping[str, str], *, root: str = ""
) -> dict[str, list[str]]:
    """{key: names} of several lists.

    Args:
      problems: a list that is missing is added to it.
      tree: the release.
      paths: {key: the list's path below `root`}.
      root: a folder of the tree.

    Raises:
      DatasetError: as of `read`.
    """
    files = {key: tree.file(os.path.join(root, path)) for key, path in paths.items()}
    problems.add("without the file", *(paths[key] for key, file in files.items() if file is None))
    return {key: read(file) for key, file in files.items() if file is not None}


def items(
    problems: Problems,
    lists: Mapping[str, Sequence[str]],
    files: Mapping[str, Mapping[str, File]],
    *,
    partial: bool,
) -> Items:
    """{split: items} of lists whose examples are called as their files are.

    Args:
      problems, files, partial: as of `complete`.
      lists: {split: names}.

    Raises:
      DatasetError: there were problems, or a listed example lacks a file.
    """
    found = {}
    for split, names in lists.items():
        kept = complete(problems, split, names, files, partial=partial)
        found[split] = [Item(name, {key: files[key][name] for key in files}) for name in kept]
    problems.raise_if_any()
    return found


def complete(
    problems: Problems,
    split: str,
    names: Sequence[str],
    files: Mapping[str, Mapping[str, File]],
    *,
    partial: bool,
) -> list[str]:
    """The listed examples that have a file for every key; others are problems.

    Args:
      problems: what is missing is added to it.
      split: for the message.
      names: from the list of the split.
      files: {key: {name: file}}; files that are not listed are passed over.
      partial: examples of which there is no file at all are passed over too.

    Returns:
      Names in the order of the list.
    """
    if partial:
        names = [name for name in names if any(name in of_key for of_key in files.values())]
    for key, of_key in files.items():
        missing = [name for name in names if name not in of_key]
        problems.add(f"split {split!r}: without {key!r}", *missing)
    return [name for name in names if all(name in of_key for of_key in files.values())]
