"""Reads .mat files of releases, and refuses what is not what it should be."""

import numpy as np
import scipy.io

from input_pipeline.errors import DatasetError
from input_pipeline.sources import File


def read(file: File, *, key: str, variable: str) -> np.ndarray:
    """Reads one variable of a MATLAB 5 file.

    Args:
      file: the .mat file.
      key: of the example, for messages.
      variable: its name in the file.

    Returns:
      The array as scipy.io.loadmat gives it; a struct is an array of shape [1, 1] with fields.

    Raises:
      DatasetError: the file does not load or has no such variable.
    """
    stream = file.open()
    try:
        found = scipy.io.loadmat(stream, variable_names=[variable])
    # A file that is cut off or no .mat at all fails in any way: ValueError, TypeError, zlib.error.
    except Exception as error:
        raise DatasetError(
            f"{file}, key {key!r}: expected a MATLAB 5 file, but it does not load "
            f"({type(error).__name__}: {error}). Copy it again from the release."
        ) from error
    if variable not in found:
        stream.seek(0)
        names = [name for name, *_ in scipy.io.whosmat(stream)]
        raise DatasetError(
            f"{file}, key {key!r}: expected a variable {variable!r}, found "
            f"{', '.join(names) or 'none'}."
        )
    return found[variable]


def read_field(file: File, *, key: str, variable: str, field: str) -> np.ndarray:
    """Reads one field of a struct of a MATLAB 5 file.

    Raises:
      DatasetError: see `read`; or the variable is no struct with that field.
    """
    struct = read(file, key=key, variable=variable)
    if struct.shape != (1, 1) or field not in (struct.dtype.names or ()):
        raise DatasetError(
            f"{file}, key {key!r}: expected a struct {variable!r} with a field {field!r}, found "
            f"shape {struct.shape} and fields {struct.dtype.names or 'none'}."
        )
    return struct[field][0, 0]
