"""Published files at plain addresses: fetched once, kept in a folder, never run."""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from mtl_jax.errors import UsageError

FOLDER = "~/.cache/mtl_jax/weights"
_TIMEOUT = 30  # seconds without an answer
_CHUNK = 1 << 20


class DownloadError(UsageError):
    """A file is not to be had; the message has its address and where it would be."""


def place(url: str) -> Path:
    """Where the file of an address is, or would be."""
    return Path(FOLDER).expanduser() / url.rpartition("/")[2]


def fetch(url: str, report: Callable[[str], None]) -> Path:
    """The file at an address, from the folder or into it.

    Args:
      url: of a file; its last part is the file's name.
      report: called with what is fetched, and with its SHA-256.

    Returns:
      The path. Whoever knows a checksum compares it.

    Raises:
      DownloadError: there is no network or no such file, it arrives incomplete, or it cannot be
        written.
    """
    path = place(url)
    if path.is_file():
        return path
    report(f"Fetching {url} to {path}.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = _download(url, path)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        raise DownloadError(
            f"{url} cannot be fetched ({type(error).__name__}: {error}). Get it on a machine with "
            f"a network, and put it at {path}, or give its path in the place of its name."
        ) from error
    report(f"  Its SHA-256 is {digest}.")
    return path


def _download(url: str, path: Path) -> str:
    """Puts a file in its place when it is whole; its SHA-256 in hexadecimal digits."""
    digest, found = hashlib.sha256(), 0
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer, part.open("wb") as file:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                digest.update(chunk)
                found += len(chunk)
            expected = answer.headers.get("Content-Length")
        if expected is not None and int(expected) != found:
            raise ValueError(f"{found} bytes arrived of {expected}")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return digest.hexdigest()
