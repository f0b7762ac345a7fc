"""PASCAL: VOC 2012, the Semantic Boundaries Dataset (SBD) and Person-Part, as report D uses them.

Everingham et al.: The PASCAL Visual Object Classes Challenge (IJCV 2015); Hariharan et al.:
Semantic contours from inverse detectors (ICCV 2011), which is SBD; Chen et al.: Detect What You Can
(CVPR 2014) and Attention to Scale (CVPR 2016), for the parts of people.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from input_pipeline import _images, checks, labels, release, sources
from input_pipeline.conversion import Item, Items
from input_pipeline.datasets import _lists, _matlab
from input_pipeline.datasets import _voc_classes as voc
from input_pipeline.errors import DatasetError
from input_pipeline.quiet_tensorflow import tfds
from input_pipeline.sources import File

_VOC, _SBD = "VOCdevkit/VOC2012", "benchmark_RELEASE/dataset"
_PARTS = "pascal_person_part"

_LISTS = {
    "voc/train": f"{_VOC}/ImageSets/Segmentation/train.txt",
    "voc/val": f"{_VOC}/ImageSets/Segmentation/val.txt",
    "sbd/train": f"{_SBD}/train.txt",
    "sbd/val": f"{_SBD}/val.txt",
    "parts/train": f"{_PARTS}/pascal_person_part_trainval_list/train_id.txt",
    "parts/val": f"{_PARTS}/pascal_person_part_trainval_list/val_id.txt",
}
# Lengths of the lists.
_OFFICIAL_COUNTS = {
    "voc/train": 1464,
    "voc/val": 1449,
    "sbd/train": 8498,
    "sbd/val": 2857,
    "parts/train": 1716,
    "parts/val": 1817,
}
_FILES = {
    "voc": {
        "image": f"{_VOC}/JPEGImages/*.jpg",
        "semseg": f"{_VOC}/SegmentationClass/*.png",
    },
    "sbd": {"image": f"{_SBD}/img/*.jpg", "semseg": f"{_SBD}/cls/*.mat"},
    "parts": {"parts": f"{_PARTS}/pascal_person_part_gt/*.png"},
}


class Entry(NamedTuple):
    """One example of a split.

    Attributes:
      source: 'voc' or 'sbd', whose image and semantics are taken.
      name: of the files.
    """

    source: str
    name: str

    @property
    def id(self) -> str:
        """Of the example: one photograph may be in VOC and in SBD, with different labels."""
        return self.name if self.source == "voc" else f"{self.name}_sbd"


Lists = Mapping[str, Sequence[str]]
Splits = dict[str, list[Entry]]


def d1(lists: Lists) -> Splits:
    """D1 of report D: SBD's train and val without VOC's val, and then VOC's train, not merged.

    A photograph that is in both is in D1 twice, with SBD's labels and with VOC's. With the
    official lists these are 10,252 + 1,464 = 11,716 entries, 1,134 of them second ones; the report
    does not say so, it follows from the number to which it shortens D2.
    """
    validation = set(lists["voc/val"])
    from_sbd = [n for n in (*lists["sbd/train"], *lists["sbd/val"]) if n not in validation]
    return {
        "train": [Entry("sbd", n) for n in from_sbd]
        + [Entry("voc", n) for n in lists["voc/train"]],
        "validation": [Entry("voc", n) for n in lists["voc/val"]],
    }


def trainaug(lists: Lists) -> Splits:
    """The usual 10,582: VOC's train, and of SBD what is in neither of VOC's lists.

    Where both have labels, those of VOC are taken.
    """
    seen = {*lists["voc/train"], *lists["voc/val"]}
    splits = d1(lists)
    more = [entry for entry in splits["train"] if entry.name not in seen]
    splits["train"] = [Entry("voc", name) for name in lists["voc/train"]] + more
    return splits


def d3(lists: Lists) -> Splits:
    """D3 of report D: Person-Part ∩ SBD, train with train and val with val.

    In the order of Person-Part's lists, with the semantics of SBD. The report gives no counts.
    """
    splits = {}
    for split, list_name in (("train", "train"), ("validation", "val")):
        in_sbd = set(lists[f"sbd/{list_name}"])
        names = [name for name in lists[f"parts/{list_name}"] if name in in_sbd]
        splits[split] = [Entry("sbd", name) for name in names]
    return splits


_SPLITS = {"d1": d1, "trainaug": trainaug, "d3": d3}
_SOURCES = {"d1": ("sbd", "voc"), "trainaug": ("sbd", "voc"), "d3": ("sbd", "parts")}


@dataclasses.dataclass(frozen=True)
class Convert:
    """Item ─► image, semseg and, where the item has them, parts."""

    def __call__(self, item: Item) -> dict[str, Any]:
        example: dict[str, Any] = {"image": _images.read_any_photo(item.files["image"])}
        semseg = item.files["semseg"]
        if semseg.name.endswith(".mat"):
            example["semseg"] = read_sbd(semseg)
        else:
            example["semseg"] = _images.read_ids(semseg, key="semseg")
        if "parts" in item.files:
            example["parts"] = _images.read_ids(item.files["parts"], key="parts")
        return example


def read_sbd(file: File) -> np.ndarray:
    """The classes of a file cls/*.mat of SBD: uint8 [H, W], ids 0–20, no border between objects.

    Raises:
      DatasetError: the file does not load, or holds something else.
    """
    ids = _matlab.read_field(file, key="semseg", variable="GTcls", field="Segmentation")
    if ids.dtype != np.uint8 or ids.ndim != 2:
        raise DatasetError(
            f"{file}, key 'semseg': expected 8-bit ids [H, W] in GTcls.Segmentation, found "
            f"{ids.dtype} of shape {list(ids.shape)}."
        )
    return ids


class Builder(release.ReleaseBuilder):
    """Features `id`, `image`, `semseg` (21 classes, 255 = void) and, in `d3`, `parts` (7).

    Nothing is resized; photographs differ in size, and grey ones are read as RGB. See `d1`,
    `trainaug` and `d3` for what is in a split, and in what order: 'train[:5858]' of `d1` is the
    first half that report D's first series trains on. Ids of examples from SBD end in '_sbd'.
    """

    name = "pascal"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 – as TFDS declares it
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name="trainaug", description="21 classes, 10582 / 1449."),
        tfds.core.BuilderConfig(name="d1", description="21 classes, 11716 / 1449; duplicates."),
        tfds.core.BuilderConfig(name="d3", description="21 classes and 7 parts."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    The folder that manual_dir names holds what these unpack to:
      VOCdevkit/VOC2012: VOCtrainval_11-May-2012.tar of http://host.robots.ox.ac.uk/pascal/VOC/voc2012
      (d1, trainaug);
      benchmark_RELEASE: benchmark.tgz of the Semantic Boundaries Dataset, Berkeley (all);
      pascal_person_part, or the zip file itself: pascal_person_part.zip of the DeepLab page of
      L.-C. Chen (d3).
    Licence: the photographs are Flickr's, under its terms of use; the annotations are for research.
    """
    description = """
    Photographs of PASCAL VOC with 21 semantic classes, in the splits of report D, and seven parts
    of people.
    """
    homepage = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012"

    @property
    def specs(self) -> dict[str, labels.LabelSpec]:
        """What the arrays mean."""
        specs = {"image": labels.image(), "semseg": labels.classes(voc.NAMES, voc.PALETTE)}
        if "parts" in _SOURCES[self.builder_config.name]:
            specs["parts"] = labels.classes(voc.PART_NAMES, voc.PART_PALETTE)
        return specs

    @property
    def convert(self) -> Convert:
        """See `Convert`."""
        return Convert()

    def find(self, manual_dir: str | os.PathLike, *, partial: bool = False) -> Items:
        """The entries of the configuration's lists.

        Raises:
          DatasetError: a list is missing or has another length than the official one (shorter is
            all right if `partial`); or a listed example lacks a file.
        """
        tree = sources.Tree(manual_dir, archives=(f"{_PARTS}.zip",))
        problems = checks.Problems(manual_dir)
        config = self.builder_config.name
        lists = _read_lists(tree, problems, _SOURCES[config], partial=partial)
        problems.raise_if_any()
        files = {
            source: {key: tree.stems(pattern) for key, pattern in _FILES[source].items()}
            for source in _SOURCES[config]
        }
        items = {
            split: _items(problems, split, entries, files, partial=partial)
            for split, entries in _SPLITS[config](lists).items()
        }
        problems.raise_if_any()
        return items


def _read_lists(
    tree: sources.Tree, problems: checks.Problems, wanted: Sequence[str], *, partial: bool
) -> dict[str, list[str]]:
    paths = {name: path for name, path in _LISTS.items() if name.split("/")[0] in wanted}
    lists = _lists.read_all(problems, tree, paths)
    if not problems:
        official = {name: _OFFICIAL_COUNTS[name] for name in lists}
        checks.counts(problems, lists, official, partial=partial)
    return lists


def _items(
    problems: checks.Problems,
    split: str,
    entries: Sequence[Entry],
    files: Mapping[str, Mapping[str, Mapping[str, File]]],
    *,
    partial: bool,
) -> list[Item]:
    """The items of the entries, whose files have to be there."""
    items = []
    for source in dict.fromkeys(entry.source for entry in entries):
        names = [entry.name for entry in entries if entry.source == source]
        of_source = {**files[source], **files.get("parts", {})}
        for name in _lists.complete(problems, split, names, of_source, partial=partial):
            of_name = {key: of_key[name] for key, of_key in of_source.items()}
            items.append(Item(Entry(source, name).id, of_name))
    if not items and not problems:
        problems.add(f"split {split!r}", "has no examples")
    return items
