"""Data sets: one module each, found by its name. A new data set is one new file.

A module holds `Builder`, a TFDS builder with a property `label_specs`, and, if it needs neither a
download nor manual files, `EMBEDDED = True`. A `Builder` that reads a manually downloaded release
is a `release.ReleaseBuilder`. A module whose configurations are not listed beforehand has
`builder_config(name)`, which makes them.
"""

import contextlib
import difflib
import fcntl
import functools
import importlib
import inspect
import os
import pkgutil
import types
from collections.abc import Iterator

from input_pipeline._tensorflow import tfds
from input_pipeline.errors import DatasetError

__all__ = ["DatasetError", "load", "names", "prepare"]

_FORMAT = "array_record"  # Any record can be read by its index.


def names() -> list[str]:
    """The data sets that there are modules for, sorted."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in found if not name.startswith("_"))


def load(name: str, *, data_dir: str = "", manual_dir: str = "") -> tfds.core.DatasetBuilder:
    """Returns a prepared builder.

    A data set that is embedded, or whose release lies in a `manual_dir` that is given, is prepared
    on first use.

    Args:
      name: `'streets'`, or `'streets/256x512'` for a configuration of it.
      data_dir: where records lie; '' is the default of TFDS, `$TFDS_DATA_DIR` or
        `~/tensorflow_datasets`.
      manual_dir: the folder of the release, for data sets that one has to download oneself.

    Raises:
      DatasetError: there is no such data set or configuration; it is not prepared (the message
        says how to); or it cannot be.
    """
    module, builder = _builder(name, data_dir)
    if not builder.is_prepared():
        if not (getattr(module, "EMBEDDED", False) or manual_dir or _own_dir(builder)):
            raise DatasetError(_how_to_prepare(name, builder, data_dir))
        return prepare(name, data_dir=data_dir, manual_dir=manual_dir)
    found = builder.info.file_format
    if found is None or found.value != _FORMAT:
        raise DatasetError(
            f"{builder.data_dir} holds {getattr(found, 'value', found)} files; expected {_FORMAT}. "
            "Remove that folder or name another data_dir, and prepare the data set again."
        )
    return builder


def prepare(
    name: str, *, data_dir: str = "", manual_dir: str = "", partial: bool = False
) -> tfds.core.DatasetBuilder:
    """Checks a release, converts it to records and returns the builder.

    Records appear in `data_dir` when all are written, not before. Several processes may call this
    at once: one converts, the others wait for it. A data set that is prepared already is returned.

    Args:
      name: see `load`.
      data_dir: see `load`.
      manual_dir: see `load`.
      partial: accept a release of which images are missing.

    Raises:
      DatasetError: a file is missing or wrong, or `data_dir` cannot be written.
    """
    module, builder = _builder(name, data_dir)
    if builder.is_prepared():
        return load(name, data_dir=data_dir)
    prepare_records = builder.download_and_prepare
    if not getattr(module, "EMBEDDED", False):
        manual_dir = os.path.expanduser(manual_dir) or _own_dir(builder)
        if not os.path.isdir(manual_dir):
            raise DatasetError(
                f"manual_dir={manual_dir!r} is not a folder.\n"
                + _how_to_prepare(name, builder, data_dir)
            )
        items = builder.find(manual_dir, partial=partial)
        prepare_records = functools.partial(builder.prepare, items)
    root = builder.data_path.parent if not builder.builder_config else builder.data_path.parents[1]
    with _only_process(os.path.join(root, ".lock")):
        if not _builder(name, data_dir)[1].is_prepared():
            tfds.display_progress_bar(False)  # ours know how much there is to do
            try:
                prepare_records(file_format=_FORMAT)
            finally:
                tfds.display_progress_bar(True)
    # A new builder, because what is on disk is what counts.
    return load(name, data_dir=data_dir)


def _builder(name: str, data_dir: str) -> tuple[types.ModuleType, tfds.core.DatasetBuilder]:
    dataset, _, config = name.partition("/")
    if dataset not in names():
        raise DatasetError(_unknown("data set", dataset, names()))
    module = importlib.import_module(f"{__name__}.{dataset}")
    directory = os.path.expanduser(data_dir) if data_dir else None
    if hasattr(module, "builder_config"):
        config = module.builder_config(config)
        return module, module.Builder(config=config, data_dir=directory)
    configs = [config.name for config in module.Builder.BUILDER_CONFIGS]
    if config and config not in configs:
        raise DatasetError(_unknown(f"configuration of {dataset!r}", config, configs))
    return module, module.Builder(config=config or None, data_dir=directory)


def _own_dir(builder: tfds.core.DatasetBuilder) -> str:
    """Where the files lie if the configuration itself says so, else ''."""
    return getattr(builder.builder_config, "manual_dir", "")


def _unknown(what: str, name: str, available: list[str]) -> str:
    near = difflib.get_close_matches(name, available, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"There is no {what} {name!r}.{hint} Available: {', '.join(available) or 'none'}."


def _how_to_prepare(name: str, builder: tfds.core.DatasetBuilder, data_dir: str) -> str:
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
