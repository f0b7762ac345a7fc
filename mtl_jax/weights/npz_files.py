"""Arrays in NumPy's `.npz` files, which Google's vision transformers are published as."""

import zipfile
from pathlib import Path

import numpy as np

from mtl_jax.errors import UsageError

# Weights hardly shrink: what unpacks to more than this was made to fill the memory.
_MOST_TIMES, _ANYHOW = 64, 64 << 20  # the file's size; bytes


class NpzError(UsageError):
    """An `.npz` file cannot be read; the message says which and why."""


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, by name; pickled objects in it are refused, not loaded.

    Raises:
      NpzError: the file is damaged, is no `.npz`, or holds something besides arrays of numbers.
      OSError: it cannot be opened.
    """
    path = Path(path)
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise NpzError(f"{path} cannot be read: it is no zip file of arrays, or cut off.")
        file.seek(0)
        try:
            with zipfile.ZipFile(file) as archive:
                unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > max(_MOST_TIMES * path.stat().st_size, _ANYHOW):
                raise ValueError(f"it unpacks to {unpacked / 2**30:.3g} GiB")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                found = {name: archive[name] for name in archive.files}
        # Changed bytes end in what zipfile, zlib, NumPy and Python's own parser raise, a size that
        # nothing holds in a MemoryError.
        except Exception as error:
            raise NpzError(
                f"{path} cannot be read: it is damaged, or holds something besides arrays of "
                f"numbers ({type(error).__name__}: {str(error)[:200]})."
            ) from error
    for name, array in found.items():
        if not isinstance(array, np.ndarray):  # a member that is no .npy file is given as bytes
            raise NpzError(f"{path} cannot be read: its member {name[:80]!r} is no array.")
    return found
