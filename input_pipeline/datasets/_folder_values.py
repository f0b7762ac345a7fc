"""Reads the label files of a folder and turns their values into those of records."""

import pathlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from input_pipeline import _images, sources
from input_pipeline.datasets._folder_keys import KeySpec
from input_pipeline.errors import DatasetError

# Lengths of vectors that colours stand for: shorter ones point nowhere, longer ones are no normals.
_SHORTEST, _LONGEST = 0.5, 1.5


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
        return _images.read_colours(file, key=spec.key)
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
    _check_numbers(raw, where)
    if spec.label.kind == "normals":
        return _decode_normals(raw, spec, where)
    # In what records hold, as labels are checked: 0.7 of a file in float32 is less in float64.
    value = _cast(raw.astype(np.float64) / spec.divide_by + spec.offset, np.float32)
    unknown = _is_one_of(raw, spec.unknown)
    low, high = spec.label.valid_range
    if spec.outside_range == "unknown":
        unknown |= ~((value >= low) & (value <= high))  # NaN is in no range
    elif not np.isfinite(value[~unknown]).all():
        raise DatasetError(
            f"{where}: expected finite values, found NaN or infinity where the file is not one of "
            f"the values for unknown, {list(spec.unknown)}. If they mean that nothing was "
            f"measured, say 'unknown: [0, .nan]' or 'outside_range: unknown' for {spec.key}."
        )
    if ((value == 0) & ~unknown).any():
        raise DatasetError(
            f"{where}: expected values over 0, found 0 where the file is not one of the values for "
            f"unknown, {list(spec.unknown)}. Records keep 0 for what is unknown."
        )
    return np.where(unknown, np.float32(0), value)


def _check_numbers(raw: np.ndarray, where: str) -> None:
    if not (np.issubdtype(raw.dtype, np.integer) or np.issubdtype(raw.dtype, np.floating)):
        raise DatasetError(f"{where}: expected real numbers, found {raw.dtype}.")


def _is_one_of(raw: np.ndarray, values: Sequence[float]) -> np.ndarray:
    if np.issubdtype(raw.dtype, np.floating):
        # As the file has them: its 0.1 is not that of float64.
        values = _cast(np.asarray(values), raw.dtype)
    found = np.isin(raw, values)
    return found | np.isnan(raw) if np.isnan(values).any() else found


def _cast(values: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """In a type that may hold less; infinity where a number is too large for it."""
    with np.errstate(over="ignore"):
        return values.astype(dtype)


def _decode_ids(raw: np.ndarray, spec: KeySpec, where: str) -> np.ndarray:
    if not np.issubdtype(raw.dtype, np.integer):
        raise DatasetError(f"{where}: expected whole numbers, found {raw.dtype}.")
    ids = raw.astype(np.int64)
    result = ids.copy()
    for value, number in spec.ids:
        result[ids == value] = number
    void = np.zeros(ids.shape, bool) if spec.void is None else ids == spec.void
    result[void] = spec.label.ignore if spec.label.ignore is not None else 0
    listed = np.isin(ids, [value for value, _ in spec.ids]) | void
    if spec.ids and spec.label.kind == "classes" and not listed.all():
        raise DatasetError(
            f"{where}: expected the values that the YAML lists under ids, "
            f"{[value for value, _ in spec.ids]}, found {np.unique(ids[~listed])[:10].tolist()} in "
            f"{(~listed).sum()} of {ids.size} pixels."
        )
    if (result < 0).any():
        least = int(result.min())
        cure = f"ignore: {least}" if spec.label.kind == "classes" else f"ids: {{{least}: 0}}"
        raise DatasetError(
            f"{where}: expected ids from 0, found {least} in {(result == least).sum()} of "
            f"{ids.size} pixels. If that means that there is none, say '{cure}' for {spec.key}."
        )
    return result


def _decode_normals(raw: np.ndarray, spec: KeySpec, where: str) -> np.ndarray:
    if raw.ndim != 3 or raw.shape[2] != 3:
        raise DatasetError(f"{where}: expected vectors [H, W, 3], found shape {raw.shape}.")
    unknown = np.zeros(raw.shape[:2], bool)
    for vector in spec.unknown:
        # Channel by channel, as one of them may be NaN.
        unknown |= np.all([_is_one_of(raw[..., c], [vector[c]]) for c in range(3)], axis=0)
    if not np.isfinite(raw[~unknown]).all():
        raise DatasetError(
            f"{where}: expected finite values, found NaN or infinity. If they mean that nothing is "
            f"known, say 'unknown: [[.nan, .nan, .nan]]' for {spec.key}."
        )
    value = raw.astype(np.float64) / spec.divide_by + spec.offset
    value = np.stack([sign * value[..., axis] for axis, sign in spec.axes], axis=-1)
    value[unknown] = 0
    length = np.linalg.norm(value, axis=-1, keepdims=True)
    shortest = 0.0
    if np.issubdtype(raw.dtype, np.integer):
        # The mid-grey of 8 bits is no zero, but far from any direction.
        shortest = _SHORTEST
        value = np.where(length < shortest, 0, value)
        _check_lengths(length, raw, spec, where)
    if spec.unit_length:
        known = (length >= shortest) & (length > 0)
        value = np.divide(value, length, out=np.zeros_like(value), where=known)
    return value.astype(np.float32)


def _check_lengths(length: np.ndarray, raw: np.ndarray, spec: KeySpec, where: str) -> None:
    """Colours that say something else than a direction are no unit vectors by far."""
    if length.max() > _LONGEST:
        y, x = np.unravel_index(length.argmax(), length.shape[:2])
        raise DatasetError(
            f"{where}: expected vectors of about length 1, found {length.max():.3g} at row {y}, "
            f"column {x}, where the file has {raw[y, x].tolist()}. If that means that nothing is "
            f"known, list it under 'unknown' of {spec.key}; else look at divide_by and offset."
        )
