"""NYUv2 as parquet files of the Hugging Face hub: MTAN's arrays, a row for each example.

The columns are nested lists, which would take a hundred times their size as Python objects: the
leaves are taken as one array and get their shape back.
"""

import dataclasses
import functools
import re
from typing import Any

import numpy as np

from input_pipeline import checks, sources
from input_pipeline.conversion import Item, Items
from input_pipeline.datasets import _mtan_arrays as mtan
from input_pipeline.errors import DatasetError
from input_pipeline.sources import File

SIZE = (288, 384)
_PREFIXES = {"train": "train", "validation": "val"}  # our names and the files'
# By key: the column and the number of planes, which come first; 0 is none.
_COLUMNS = {
    "image": ("image", 3),
    "semseg": ("segmentation", 0),
    "depth": ("depth", 1),
    "normals": ("normal", 3),
}


@dataclasses.dataclass(frozen=True)
class Convert:
    """Item, whose `data` is (row group, row in it) ─► image, semseg, depth, normals.

    Attributes:
      size: (height, width) of the arrays.
    """

    size: tuple[int, int] = SIZE

    def __call__(self, item: Item) -> dict[str, Any]:
        file, (group, row) = item.files["release"], item.data
        arrays = _row_group(file, file.stamp(), group, self.size)
        where = {key: f"{file}, row group {group}, row {row}, key {key!r}" for key in _COLUMNS}
        image, normals = (np.moveaxis(arrays[key][row], 0, -1) for key in ("image", "normals"))
        return {
            "image": mtan.image(image, where["image"]),
            "semseg": mtan.classes(arrays["semseg"][row], 13, where["semseg"]),
            "depth": mtan.depth(arrays["depth"][row][0], where["depth"]),
            "normals": mtan.normals(normals, where["normals"]),
        }


def find(tree: sources.Tree, problems: checks.Problems, *, partial: bool) -> Items:
    """The rows of each split, by their number, which is the id; all files, unless `partial`.

    Raises:
      DatasetError: a file does not open or lacks a column, or pyarrow is not installed.
    """
    items: Items = {}
    for split, prefix in _PREFIXES.items():
        files = tree.glob(f"data/{prefix}-*.parquet") or tree.glob(f"{prefix}-*.parquet")
        if not files:
            problems.add("no files", f"data/{prefix}-*.parquet")
        if not partial:
            problems.add(f"split {split!r}: without the file", *_absent(list(files)))
        items[split] = []
        for file in files.values():
            for group, count in enumerate(_rows(file)):
                for row in range(count):
                    name = f"{split}_{len(items[split]):04d}"
                    items[split].append(Item(name, {"release": file}, (group, row)))
    return items


def _absent(names: list[str]) -> list[str]:
    """Which of 'train-00000-of-00008.parquet' and so on are not among the names."""
    numbered = [re.fullmatch(r"(.*-)(\d{5})(-of-)(\d{5})(\.parquet)", name) for name in names]
    if not numbered or numbered[0] is None or not all(numbered):
        return []
    start, _, of, count, end = numbered[0].groups()
    wanted = [f"{start}{number:05d}{of}{count}{end}" for number in range(int(count))]
    return [name for name in wanted if name not in names]


def _open(file: File):
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DatasetError(
            f"{file}: parquet files are read by pyarrow, which is not installed. Install it with "
            "pip install 'mtl-jax[parquet]'."
        ) from error
    try:
        return pyarrow.parquet.ParquetFile(file.path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DatasetError(
            f"{file}: expected a parquet file, but it does not open ({error}). Download it again."
        ) from error


def _rows(file: File) -> list[int]:
    """Numbers of rows of the row groups."""
    with _open(file) as opened:
        names = opened.schema_arrow.names
        missing = [column for column, _ in _COLUMNS.values() if column not in names]
        if missing:
            raise DatasetError(
                f"{file}: expected the columns {', '.join(c for c, _ in _COLUMNS.values())}, "
                f"found {', '.join(names)}."
            )
        groups = range(opened.metadata.num_row_groups)
        return [opened.metadata.row_group(group).num_rows for group in groups]


@functools.lru_cache(maxsize=1)
def _row_group(
    file: File, stamp: tuple[int, int], group: int, size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """The arrays of all rows of a group, [rows, (planes,) H, W]; one group is kept."""
    del stamp  # A file that was replaced is read again.
    columns = [column for column, _ in _COLUMNS.values()]
    with _open(file) as opened:
        try:
            table = opened.read_row_group(group, columns=columns)
        except Exception as error:  # of a damaged file pyarrow raises errors of many types
            raise DatasetError(
                f"{file}, row group {group}: it cannot be read ({error}). Download it again."
            ) from error
    result = {}
    for key, (column, planes) in _COLUMNS.items():
        shape = (table.num_rows, *([planes] if planes else []), *size)
        leaves = np.concatenate([_leaves(chunk) for chunk in table[column].chunks])
        if leaves.size != np.prod(shape):
            raise DatasetError(
                f"{file}, row group {group}, column {column!r}: expected {shape[0]} arrays of "
                f"{list(shape[1:])}, found {leaves.size} numbers."
            )
        result[key] = leaves.reshape(shape)
    return result


def _leaves(array) -> np.ndarray:
    """The numbers in nested lists, one after the other."""
    array = getattr(array, "storage", array)  # of an extension type, if somebody has registered it
    while hasattr(array, "flatten") and hasattr(array.type, "value_type"):
        array = array.flatten()
    return array.to_numpy(zero_copy_only=False)
