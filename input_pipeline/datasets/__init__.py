"""Data sets: one module each, found by its name. A new data set is one new file.

A module holds `Builder`, a TFDS builder with a property `label_specs`, and, if it needs neither a
download nor manual files, `EMBEDDED = True`. A `Builder` that reads a manually downloaded release
is a `release.ReleaseBuilder`. A module whose configurations are not listed beforehand has
`builder_config(name, manual_dir=, data_dir=)`, which makes them.

The package itself loads neither TensorFlow nor a reader of records, so that its tables of classes
are there without them; they are imported where a builder is made.
"""

import contextlib
import errno
import fcntl
import functools
import importlib
import inspect
import os
import pkgutil
import shutil
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING

from input_pipeline._messages import say
from input_pipeline.errors import DatasetError, did_you_mean

if TYPE_CHECKING:
    from input_pipeline.quiet_tensorflow import tfds

__all__ = ["DatasetError", "fingerprint", "load", "names", "prepare"]

_FORMAT = "array_record"  # Any record can be read by its index.


def names() -> list[str]:
    """The data sets that there are modules for, sorted."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in found if not name.startswith("_"))


def load(name: str, *, data_dir: str = "", manual_dir: str = "") -> "tfds.core.DatasetBuilder":
    """Returns a prepared builder.

    A data set that is embedded, or whose release lies in a `manual_dir` that is given, is prepared
    on first use.

    Args:
      name: `'streets'`, or `'streets/256x512'` for a configuration of it.
      data_dir: where records lie; '' is the default of TFDS, `$TFDS_DATA_DIR` or
        `~/tensorflow_datasets`.
      manual_dir: the folder of the release, for data sets that one has to download oneself. Records
        that were made from other files than are there now are not used.

    Raises:
      DatasetError: there is no such data set or configuration; it is not prepared (the message
        says how to); it cannot be; its records are damaged; or they were made from other files.
    """
    module, builder = _builder(name, data_dir, manual_dir)
    if builder.is_prepared():
        return _checked(builder, manual_dir)
    if not (getattr(module, "EMBEDDED", False) or manual_dir or _own_dir(builder)):
        raise DatasetError(_how_to_prepare(name, builder, data_dir))
    return prepare(name, data_dir=data_dir, manual_dir=manual_dir)


def prepare(
    name: str, *, data_dir: str = "", manual_dir: str = "", partial: bool = False
) -> "tfds.core.DatasetBuilder":
    """Checks a release, converts it to records and returns the builder.

    Records appear in `data_dir` when all are written, not before. Several processes may call this
    at once: one converts, the others wait for it. A data set that is prepared already is returned.

    Args:
      name: see `load`.
      data_dir: see `load`.
      manual_dir: see `load`.
      partial: accept a release of which images are missing.

    Raises:
      DatasetError: a file is missing or wrong, `data_dir` cannot be written, or see `load`.
    """
    module, builder = _builder(name, data_dir, manual_dir)
    if builder.is_prepared():
        return _checked(builder, manual_dir)
    prepare_records, where = builder.download_and_prepare, ""
    if not getattr(module, "EMBEDDED", False):
        folder = os.path.expanduser(manual_dir) or _own_dir(builder)
        if not os.path.isdir(folder):
            raise DatasetError(
                f"manual_dir={folder!r} is not a folder.\n"
                + _how_to_prepare(name, builder, data_dir)
            )
        items = builder.find(folder, partial=partial)
        prepare_records = functools.partial(builder.prepare, items, folder, partial=partial)
        counts = ", ".join(f"{len(of_split)} {split}" for split, of_split in items.items())
        where = f" from {folder} ({counts})"
    root = builder.data_path.parent if not builder.builder_config else builder.data_path.parents[1]
    with _only_process(os.path.join(root, ".lock")):
        if not _builder(name, data_dir, manual_dir)[1].is_prepared():
            _remove_left_overs(builder)
            say(f"Preparing {builder.info.full_name}{where}.")
            with _quiet_tfds(), _writing(root):
                prepare_records(file_format=_FORMAT)
            say(f"Records are in {builder.data_dir}.")
            for line in getattr(builder, "notes", list)():
                say(line)
    # A new builder, because what is on disk is what counts.
    _, builder = _builder(name, data_dir, manual_dir)
    if not builder.is_prepared():
        raise DatasetError(f"{name}: files changed while they were read; prepare it again.")
    return _checked(builder, manual_dir)


@contextlib.contextmanager
def _writing(folder: str | os.PathLike) -> Iterator[None]:
    """Says what a full disk means, which the writers of records report in several ways."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if not any(os.strerror(n) in str(error) for n in (errno.ENOSPC, errno.EDQUOT)):
            raise
        raise DatasetError(
            f"The disk is full, so the records could not be written to {folder}. Make room, or "
            "name another folder by --data_dir; what was converted before is kept."
        ) from error


def fingerprint(builder: "tfds.core.DatasetBuilder") -> str:
    """What a run may keep to know its data by: of the files that records were made from.

    Of an embedded data set, and of records that an earlier version made, it is the name with the
    configuration and the version.

    Raises:
      DatasetError: the list of files beside the records is damaged.
    """
    from input_pipeline import provenance

    made_from = provenance.read(builder.data_path)
    return provenance.fingerprint(made_from) if made_from else builder.info.full_name


def _builder(
    name: str, data_dir: str, manual_dir: str = ""
) -> tuple[types.ModuleType, "tfds.core.DatasetBuilder"]:
    dataset, _, config = name.partition("/")
    if dataset not in names():
        raise DatasetError(_unknown("data set", dataset, names()))
    module = importlib.import_module(f"{__name__}.{dataset}")
    directory = os.path.expanduser(data_dir) if data_dir else None
    if hasattr(module, "builder_config"):
        from input_pipeline.quiet_tensorflow import tfds

        root = directory or os.path.expanduser(tfds.core.constants.DATA_DIR)
        config = module.builder_config(config, manual_dir=manual_dir, data_dir=root)
        return module, module.Builder(config=config, data_dir=directory)
    configs = [config.name for config in module.Builder.BUILDER_CONFIGS]
    if config and config not in configs:
        raise DatasetError(_unknown(f"configuration of {dataset!r}", config, configs))
    return module, module.Builder(config=config or None, data_dir=directory)


def _checked(builder: "tfds.core.DatasetBuilder", manual_dir: str) -> "tfds.core.DatasetBuilder":
    """The builder, if its records are whole and were made from what lies in `manual_dir`."""
    from input_pipeline import integrity, provenance

    integrity.check_info(builder.data_dir)
    found = builder.info.file_format
    if found is None or found.value != _FORMAT:
        raise DatasetError(
            f"{builder.data_dir} holds {getattr(found, 'value', found)} files; expected {_FORMAT}. "
            "Remove that folder or name another data_dir, and prepare the data set again."
        )
    integrity.check_shards(builder)
    made_from = provenance.read(builder.data_path)
    # Where the configuration says where the files are, its name tells what was made from them.
    if not (manual_dir and made_from) or _own_dir(builder):
        return builder
    folder = os.path.expanduser(manual_dir)
    if not os.path.isdir(folder):
        say(f"manual_dir={folder} is not there: records made from {made_from['folder']} are used.")
        return builder
    partial = bool(made_from.get("partial"))
    now = provenance.of(builder.find(folder, partial=partial), folder)
    if changed := provenance.differences(made_from, now):
        raise DatasetError(
            f"The records in {builder.data_dir} were made from other files than lie in {folder}:\n"
            + "".join(f"  {line}\n" for line in changed)
            + "Remove that folder or name another data_dir to prepare the data set anew; leave "
            "manual_dir out to use the records as they are."
        )
    return builder


def _remove_left_overs(builder: "tfds.core.DatasetBuilder") -> None:
    """Removes what a preparation that was killed left; nobody else writes, as the lock is ours."""
    parent = builder.data_path.parent
    for path in parent.iterdir() if parent.is_dir() else ():
        if path.name.startswith("incomplete.") and path.name.endswith(builder.data_path.name):
            shutil.rmtree(path)


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """Without the progress bars of TFDS: ours know how much there is to do."""
    from input_pipeline.quiet_tensorflow import tfds

    tfds.display_progress_bar(False)
    try:
        yield
    finally:
        tfds.display_progress_bar(True)


def _own_dir(builder: "tfds.core.DatasetBuilder") -> str:
    """Where the files lie if the configuration itself says so, else ''."""
    return getattr(builder.builder_config, "manual_dir", "")


def _unknown(what: str, name: str, available: list[str]) -> str:
    hint = did_you_mean(name, available)
    return f"There is no {what} {name!r}.{hint} Available: {', '.join(available) or 'none'}."


def _how_to_prepare(name: str, builder: "tfds.core.DatasetBuilder", data_dir: str) -> str:
    where = f" --data_dir={data_dir}" if data_dir else ""
    instructions = inspect.cleandoc(builder.MANUAL_DOWNLOAD_INSTRUCTIONS or "")
    return (
        f"The data set {name!r} is not prepared in {builder.data_dir}. Prepare it once with\n"
        f"  python -m input_pipeline.prepare --dataset={name} --manual_dir=/path/to/release"
        f"{where}\n"
        f"{instructions}"
    )


@contextlib.contextmanager
def _only_process(lock: str) -> Iterator[None]:
    """Waits until no other process of this machine holds the file `lock`."""
    try:
        os.makedirs(os.path.dirname(lock), exist_ok=True)
        file = open(lock, "a")  # noqa: SIM115 – closed below, after the lock is given back
    except OSError as error:
        raise DatasetError(
            f"Records cannot be written to {os.path.dirname(lock)} ({error.strerror}). "
            "Name a folder that can be written with data_dir or TFDS_DATA_DIR."
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
