"""A TFDS builder that converts a release which lies on disk.

A data set says what its arrays mean, finds its files and turns one item into arrays; everything
else is here: checks of every array, conversion in parallel that can be resumed, records that appear
all at once, and the summary beside them, from which the statistics of the LabelSpecs come.
"""

import abc
import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from input_pipeline import builder as builders
from input_pipeline import conversion, converted, provenance, summary
from input_pipeline.conversion import Item, Items
from input_pipeline.errors import DatasetError
from input_pipeline.labels import LabelSpec
from input_pipeline.quiet_tensorflow import tfds


class ReleaseBuilder(builders.LocalBuilder):
    """The base of data sets that one has to download oneself.

    A subclass sets `name`, `VERSION`, `BUILDER_CONFIGS`, `MANUAL_DOWNLOAD_INSTRUCTIONS` (where to
    get the release, under which licence, and what `manual_dir` has to hold) and the attributes
    below, and defines `specs`, `find` and `convert`.

    Attributes:
      description: of the data set, for the records' metadata.
      homepage: of the data set.
      one_size: whether all images of the data set have to be of one size.
    """

    description = ""
    homepage = ""
    one_size = False

    @property
    @abc.abstractmethod
    def specs(self) -> dict[str, LabelSpec]:
        """What the arrays mean, 'image' included, without the statistics of the records."""

    @property
    @abc.abstractmethod
    def convert(self) -> Callable[[Item], Mapping[str, Any]]:
        """Turns an item into arrays: see `conversion.Job`."""

    @abc.abstractmethod
    def find(self, manual_dir: str | os.PathLike, *, partial: bool = False) -> Items:
        """Looks at the release, without opening an image.

        Args:
          manual_dir: the folder of the release.
          partial: accept a release of which examples are missing.

        Returns:
          By split, what each example is made from, in the order of the records.

        Raises:
          DatasetError: files are missing; all kinds of them are named.
        """

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of every example if the configuration says so, else None."""
        return None

    @property
    def label_specs(self) -> dict[str, LabelSpec]:
        """What the arrays mean, with mean and stddev of the training split once it is prepared."""
        found = summary.read(self.data_path) if self.is_prepared() else None
        train = (found or {}).get("train", {})
        return {key: _with_statistics(spec, train.get(key, {})) for key, spec in self.specs.items()}

    def notes(self) -> list[str]:
        """What is said when the records are written: a line each."""
        return []

    def check_summary(self, counted: Mapping[str, Any]) -> None:
        """Looks at the summary of every split before records are written.

        Args:
          counted: {split: numbers as of `summary.describe`}.

        Raises:
          DatasetError: the labels cannot mean what the specs say.
        """

    @property
    def work_dir(self) -> str:
        """Where converted examples wait until all are there."""
        return os.fspath(self.data_path.parent / f".converting-{self.version}")

    @property
    def job_name(self) -> str:
        """Tells converted examples from those of other configurations and versions."""
        return self.info.full_name

    @property
    def more_provenance(self) -> dict[str, Any]:
        """What else is kept with the list of files, JSON-able."""
        return {}

    def prepare(
        self, items: Mapping[str, Sequence[Item]], manual_dir: str, *, partial: bool, **kwargs
    ) -> None:
        """Converts what `find` found and writes the records; goes on where it was interrupted.

        Args:
          items: by split.
          manual_dir: the folder in which they were found.
          partial: as it was given to `find`.
          **kwargs: for `download_and_prepare`.

        Raises:
          DatasetError: a file is wrong, or changed in the meantime. What was converted before is
            kept.
        """
        self._items = items
        self._origin = lambda: provenance.of(
            items, manual_dir, partial=partial, **self.more_provenance
        )
        self.download_and_prepare(**kwargs)
        shutil.rmtree(self.work_dir, ignore_errors=True)

    def _info(self) -> tfds.core.DatasetInfo:
        return builders.LocalInfo(
            builder=self,
            description=self.description,
            features=features(self.specs, self.size or (None, None)),
            homepage=self.homepage or None,
            disable_shuffling=True,  # Record i is item i.
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        del dl_manager
        items, origin = self._items, self._origin()
        job = conversion.Job(self.job_name, self.convert, self.specs, self.size)
        files = {
            split: conversion.convert(
                job, of_split, self.work_dir, description=f"converting {self.name}, {split}"
            )
            for split, of_split in items.items()
        }
        counted, size = {}, None
        for split, of_split in files.items():
            total: summary.Counts = {}
            for item, file in zip(items[split], of_split):
                header = converted.read_header(file)
                size = size or header.size
                if self.one_size and header.size != size:
                    raise _another_size(item, size, header.size)
                summary.add(total, header.counts)
            counted[split] = summary.describe(total, len(of_split), self.specs)
        self.check_summary(counted)
        if changed := provenance.differences(origin, self._origin()):
            raise DatasetError(
                "Files changed while they were read; prepare the data set again.\n  "
                + "\n  ".join(changed)
            )
        # Into the folder of which TFDS makes the data set when all records are written.
        summary.write(counted, self.data_path)
        provenance.write(origin, self.data_path)
        return {split: self._generate_examples(of_split) for split, of_split in files.items()}

    def _generate_examples(self, files: list[str]) -> Iterator[tuple[int, dict]]:
        for number, file in enumerate(files):
            yield number, converted.read_example(file)


def features(
    specs: Mapping[str, LabelSpec], size: tuple[int | None, int | None]
) -> tfds.features.FeaturesDict:
    """The features of records: `id`, images and ids as PNG (photographs may be JPEG), and float32.

    Args:
      specs: by key.
      size: (height, width), None where it differs.
    """
    result: dict[str, Any] = {"id": tfds.features.Text()}
    for key, spec in specs.items():
        if spec.dtype == "uint8":
            result[key] = tfds.features.Image(shape=(*size, 3))
        elif spec.dtype == "int32":
            result[key] = tfds.features.Image(
                shape=(*size, 1), dtype=conversion.id_dtype(spec), encoding_format="png"
            )
        else:
            shape = size + (spec.channels,) * bool(spec.channels)
            # As bytes, because ArrayRecord compresses every record itself.
            result[key] = tfds.features.Tensor(shape=shape, dtype=np.float32, encoding="bytes")
    return tfds.features.FeaturesDict(result)


def _with_statistics(spec: LabelSpec, found: Mapping[str, Any]) -> LabelSpec:
    """The spec with mean and stddev of the records, unless it says its own."""
    if spec.mean is not None or "mean" not in found:
        return spec
    return dataclasses.replace(spec, mean=found["mean"], stddev=found["stddev"])


def _another_size(item: Item, expected: tuple[int, int], found: tuple[int, int]) -> DatasetError:
    return DatasetError(
        f"{item.files['image']}: expected {expected[0]}×{expected[1]} (height×width) as in the "
        f"images before it, found {found[0]}×{found[1]}."
    )
