"""The .npy folders that the authors of MTAN preprocessed: Cityscapes and NYUv2.

Liu, Johns, Davison: End-to-End Multi-Task Learning with Attention (CVPR 2019). A release has
`{train,val}/{image,depth,label...}/{i}.npy`, i = 0, 1, ...; channels come last, label −1 is void
and depth 0 is unknown. These functions turn one array of a file into one of a record. In each,
`where` names file and key for messages; a `DatasetError` says what was expected and what was found.
"""

from collections.abc import Mapping

import numpy as np

from input_pipeline import checks
from input_pipeline.conversion import Item
from input_pipeline.errors import DatasetError
from input_pipeline.sources import Tree

IGNORE = 255
SPLITS = {"train": "train", "validation": "val"}  # our names and the folders'


def image(array: np.ndarray, where: str) -> np.ndarray:
    """float [H, W, 3] in [0, 1] ─► uint8 [H, W, 3], rounded: off by at most 1/510."""
    if array.ndim != 3 or array.shape[2] != 3 or not np.issubdtype(array.dtype, np.floating):
        raise DatasetError(
            f"{where}: expected floats [H, W, 3], channels last, found {_described(array)}."
        )
    # NaN fails the comparison too. A rounding error above 1 is no mistake of the release.
    if not ((array >= 0) & (array <= 1 + 1e-6)).all():
        raise DatasetError(
            f"{where}: expected values in [0, 1], found {array.min():g} to {array.max():g}."
        )
    return np.round(array.astype(np.float64) * 255).astype(np.uint8)


def classes(array: np.ndarray, num_classes: int, where: str) -> np.ndarray:
    """[H, W] of −1 (void) and 0 ... C−1, of any number type ─► uint8 [H, W], void 255."""
    ids = _plane(array, where)
    whole = np.isin(ids, np.arange(-1, num_classes))  # NaN and 0.5 are in no list
    if not whole.all():
        raise DatasetError(
            f"{where}: expected class ids 0–{num_classes - 1} or −1 (void), found "
            f"{np.unique(ids[~whole])[:10].tolist()} in {(~whole).sum()} of {whole.size} pixels."
        )
    # In a signed type before the ids of void become 255, so that no −1 wraps around.
    ids = ids.astype(np.int32)
    return np.where(ids == -1, IGNORE, ids).astype(np.uint8)


def depth(array: np.ndarray, where: str) -> np.ndarray:
    """float [H, W, 1] or [H, W], 0 = unknown ─► float32 [H, W]. The range is checked later."""
    if not np.issubdtype(array.dtype, np.floating):
        raise DatasetError(f"{where}: expected floats [H, W, 1], found {_described(array)}.")
    return _plane(array, where).astype(np.float32)


def normals(array: np.ndarray, where: str) -> np.ndarray:
    """float [H, W, 3], zero vector = unknown ─► float32 [H, W, 3] of length 1, or 0.

    Averages of unit vectors, which resizing leaves, are shorter than 1 and are made unit again;
    longer vectors are no averages and refused.
    """
    if array.ndim != 3 or array.shape[2] != 3 or not np.issubdtype(array.dtype, np.floating):
        raise DatasetError(
            f"{where}: expected floats [H, W, 3], channels last, found {_described(array)}."
        )
    length = np.linalg.norm(array.astype(np.float64), axis=2, keepdims=True)
    if not (length <= 1.01).all():
        raise DatasetError(
            f"{where}: expected vectors of length 1 at most, found {np.max(length):g}."
        )
    return np.divide(array, length, out=np.zeros(array.shape), where=length > 0).astype(np.float32)


def items(
    tree: Tree, problems: checks.Problems, split: str, folders: Mapping[str, str]
) -> list[Item]:
    """The examples of a split in the order of their numbers.

    Args:
      tree: of the release.
      problems: what is missing is added to it.
      split: 'train' or 'validation'.
      folders: {key: name of the folder}.

    Returns:
      The items 0, 1, ...
    """
    patterns = {key: f"{SPLITS[split]}/{folder}/*.npy" for key, folder in folders.items()}
    found = {key: tree.stems(pattern) for key, pattern in patterns.items()}
    problems.add("no files", *(patterns[key] for key in found if not found[key]))
    names = checks.partners(problems, split, found)
    odd = [name for name in names if not (name.isdecimal() and str(int(name)) == name)]
    problems.add(f"split {split!r}: not called 0.npy, 1.npy, ...", *odd)
    numbers = sorted(int(name) for name in set(names).difference(odd))
    return [
        Item(f"{split}_{number:04d}", {key: found[key][str(number)] for key in folders})
        for number in numbers
    ]


def _plane(array: np.ndarray, where: str) -> np.ndarray:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2:
        raise DatasetError(f"{where}: expected [H, W] or [H, W, 1], found {_described(array)}.")
    return array


def _described(array: np.ndarray) -> str:
    return f"{array.dtype} of shape {list(array.shape)}"
