"""Whether a folder of records is what its own metadata say: all there, and nothing damaged."""

import json
import os
from typing import TYPE_CHECKING, Any

from input_pipeline.errors import DatasetError

if TYPE_CHECKING:  # the processes that convert examples import this file
    from input_pipeline.quiet_tensorflow import tfds

INFO = "dataset_info.json"  # as TFDS calls it


def check_info(directory: str | os.PathLike) -> None:
    """Checks the metadata of records before TFDS reads them.

    Args:
      directory: of the records.

    Raises:
      DatasetError: the file is missing, is no JSON, or does not list the splits.
    """
    info = read_json(directory, INFO)
    splits = info.get("splits")
    if not isinstance(splits, list) or not splits or not all(map(_is_split, splits)):
        raise damaged(directory, f"{INFO} does not list splits with the lengths of their files")
    for name in ("version", "fileFormat"):
        if not isinstance(info.get(name, ""), str):
            raise damaged(directory, f"{INFO} has no text under {name!r}")


def check_shards(builder: "tfds.core.DatasetBuilder") -> None:
    """Compares the number of records in every file with the metadata.

    Raises:
      DatasetError: a file is missing or damaged, or has another number of records.
    """
    for split in builder.info.splits.values():
        for path, expected in zip(split.filepaths, split.shard_lengths, strict=True):
            path = os.fspath(path)
            if not os.path.isfile(path):
                raise damaged(builder.data_dir, f"{os.path.basename(path)} is missing")
            found = _num_records(path)
            if found != expected:
                raise damaged(
                    builder.data_dir,
                    f"{os.path.basename(path)} has {found} records, and {INFO} says {expected}",
                )


def read_json(directory: str | os.PathLike, name: str) -> dict[str, Any]:
    """The mapping in a JSON file beside the records.

    Raises:
      DatasetError: it is missing or damaged.
    """
    try:
        with open(os.path.join(directory, name), encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError as error:
        raise damaged(directory, f"{name} is missing") from error
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(directory, f"{name} cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise damaged(directory, f"{name} holds {type(found).__name__}, expected a mapping")
    return found


def damaged(directory: str | os.PathLike, what: str) -> DatasetError:
    """The error that `what` is wrong with the records in a folder."""
    return DatasetError(
        f"The records in {directory} are damaged: {what}. Remove that folder and prepare the data "
        "set again."
    )


def _is_split(split: Any) -> bool:
    if not isinstance(split, dict) or not isinstance(split.get("name"), str):
        return False
    lengths = split.get("shardLengths", [])  # none: a split without examples
    return isinstance(lengths, list) and all(
        isinstance(n, str) and n.isdecimal() and len(n) < 19 for n in lengths
    )


def _num_records(path: str) -> int:
    # Plain arrays are read where this is not installed.
    from array_record.python import array_record_module

    reader = array_record_module.ArrayRecordReader(path)
    try:
        return reader.num_records()
    finally:
        reader.close()
