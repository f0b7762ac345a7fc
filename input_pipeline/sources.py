"""The files of a release: in folders, or in the zip archives as they were downloaded.

A `Tree` lists what lies under a folder; a `File` is one of them, which any process can read.
Nothing is unpacked, and nothing is ever written.
"""

import codecs
import dataclasses
import functools
import glob
import io
import os
import pathlib
import re
import zipfile
from collections.abc import Callable, Sequence

from input_pipeline.errors import DatasetError


@dataclasses.dataclass(frozen=True, order=True)
class File:
    """A file on disk, or a member of a zip archive.

    Attributes:
      path: of the file or archive.
      member: its name in the archive; '' for a file on disk.
    """

    path: str
    member: str = ""

    def __str__(self) -> str:
        """For messages: the path, or 'archive.zip/member'."""
        return f"{self.path}/{self.member}" if self.member else self.path

    @property
    def name(self) -> str:
        """The last part of the path, 'a.png'."""
        return pathlib.PurePosixPath(self.member or self.path).name

    def read(self) -> bytes:
        """The contents.

        Raises:
          DatasetError: the file is missing, or its archive is damaged.
        """
        archive = _archive(self.path) if self.member else None
        try:
            if archive is None:
                return pathlib.Path(self.path).read_bytes()
            return archive.read(self.member)
        except Exception as error:  # changed bytes of an archive end in errors of ten types
            raise DatasetError(
                f"{self}: the file cannot be read ({type(error).__name__}: {error}). "
                "Copy it again from where it came from."
            ) from error

    def open(self) -> io.BytesIO:
        """The contents as a binary stream that can seek."""
        return io.BytesIO(self.read())

    def stamp(self) -> tuple[int, int]:
        """Two numbers that change when the contents do: size, and time or checksum.

        Raises:
          DatasetError: there is no such file.
        """
        try:
            if self.member:
                info = _archive(self.path).getinfo(self.member)
                return info.file_size, info.CRC
            status = os.stat(self.path)
        except (OSError, KeyError) as error:
            raise DatasetError(f"{self}: there is no such file ({error}).") from error
        return status.st_size, status.st_mtime_ns


class Tree:
    """A folder, and zip archives in it that are looked into as if they were unpacked there."""

    def __init__(self, root: str | os.PathLike, archives: Sequence[str] = ()):
        """Opens the folder and those of the archives that are there.

        Args:
          root: the folder.
          archives: names of zip archives under `root`, such as 'gtFine_trainvaltest.zip'. One that
            is absent is passed over: its contents may lie unpacked.

        Raises:
          DatasetError: `root` is not a folder, or an archive is damaged.
        """
        self.root = pathlib.Path(root)
        if not self.root.is_dir():
            raise DatasetError(f"{root} is not a folder.")
        self.archives = [
            os.fspath(self.root / name) for name in archives if (self.root / name).is_file()
        ]
        self._members = {
            name: File(archive, name)
            for archive in reversed(self.archives)
            for name in _archive(archive).namelist()
            if not name.endswith("/")
        }

    def glob(self, pattern: str) -> dict[str, File]:
        """The files whose name matches, sorted by name. What is unpacked goes before an archive.

        Args:
          pattern: a path relative to the root with slashes, such as 'val/*/*_camera.json'; a star
            stands for any part of one name. Hidden files are left out.

        Returns:
          {name relative to the root: File}.
        """
        regex = re.compile(pattern_regex(pattern))
        found = {name: file for name, file in self._members.items() if regex.fullmatch(name)}
        # Only the star is special here; pathlib knows more such characters.
        for path in self.root.glob("*".join(map(glob.escape, pattern.split("*")))):
            if path.is_file():
                found[path.relative_to(self.root).as_posix()] = File(os.fspath(path))
        return {name: found[name] for name in sorted(found) if not _is_hidden(name)}

    def stems(self, pattern: str, *, suffixes: Sequence[str] = ()) -> dict[str, File]:
        """As `glob`, by what the last star stands for: 'x/*_a.png' finds x/7_a.png as '7'.

        Args:
          pattern: see `glob`.
          suffixes: if any, only files with one of these endings, in small letters, such as '.png';
            the ending is no part of the name under which a file is found.

        Raises:
          DatasetError: two files differ in nothing but folder or ending.
        """
        return self._named(pattern, suffixes, lambda stars: stars[-1])

    def ids(self, pattern: str, *, suffixes: Sequence[str] = ()) -> dict[str, File]:
        """As `stems`, by what all stars stand for: 'x/*/*_a.png' finds x/q/7_a.png as 'q/7'."""
        return self._named(pattern, suffixes, "/".join)

    def _named(
        self,
        pattern: str,
        suffixes: Sequence[str],
        name_of: Callable[[Sequence[str]], str],
    ) -> dict[str, File]:
        """Files by name; `name_of` makes it of what the stars of the pattern stand for."""
        regex = re.compile(pattern_regex(pattern))
        found: dict[str, File] = {}
        for path, file in self.glob(pattern).items():
            match = regex.fullmatch(path)
            assert match is not None  # `glob` found it by the same pattern
            stem = name_of(match.groups())
            if suffixes:
                stem, suffix = os.path.splitext(stem)
                if suffix.lower() not in suffixes:
                    continue
            if stem in found:
                raise DatasetError(f"{file} and {found[stem]}: two files of one name, {stem!r}.")
            found[stem] = file
        return found

    def file(self, name: str) -> File | None:
        """The file of that name relative to the root, or None."""
        path = self.root / name
        return File(os.fspath(path)) if path.is_file() else self._members.get(name)


def read_lines(file: File) -> list[str]:
    """The lines of a text file that are not empty, without the spaces around them.

    A byte order mark tells UTF-16 or UTF-8; without one it is UTF-8.

    Raises:
      DatasetError: the file is missing, or no such text.
    """
    contents = file.read()
    utf16 = contents.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = contents.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        number = contents[: error.start].count(b"\n") + 1
        raise DatasetError(
            f"{file}: expected a list in UTF-8, but line {number} is no such text "
            f"({error.reason}); it may be Latin-1. Save it as UTF-8."
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def pattern_regex(pattern: str) -> str:
    """The regular expression of a pattern, one group for each star."""
    parts = re.split(r"(\*)", pattern)
    return "".join("([^/]*)" if part == "*" else re.escape(part) for part in parts)


def _is_hidden(name: str) -> bool:
    """Such as the '._a.png' that macOS leaves in archives."""
    return any(part.startswith(".") for part in name.split("/"))


def _archive(path: str) -> zipfile.ZipFile:
    """The archive, which stays open: reading its directory takes longer than most members."""
    try:
        return _open_archive(path, os.stat(path).st_mtime_ns)
    except Exception as error:  # as above
        raise DatasetError(
            f"{path} is not a zip archive that can be read ({error}). Download it again."
        ) from error


@functools.lru_cache(maxsize=16)
def _open_archive(path: str, mtime_ns: int) -> zipfile.ZipFile:
    del mtime_ns  # An archive that was replaced is opened again.
    return zipfile.ZipFile(path)
