"""Human parsing: CIHP, which is "LIP multi-person", and LIP with one person in each image.

Gong et al.: Instance-level Human Parsing via Part Grouping Network (ECCV 2018) for CIHP; Gong et
al.: Look into Person (CVPR 2017) for LIP. Report D trains on the former, cut to the size of its D1.
"""

import dataclasses
import os
from typing import Any

from input_pipeline import _images, checks, labels, release, sources
from input_pipeline.conversion import Item, Items
from input_pipeline.datasets import _lists
from input_pipeline.quiet_tensorflow import tfds

# Names and colours of the authors. Class 10 is "jumpsuits" in LIP and "torso-skin" in CIHP.
_CLASSES = (
    ("background", (0, 0, 0)),
    ("hat", (128, 0, 0)),
    ("hair", (255, 0, 0)),
    ("glove", (0, 85, 0)),
    ("sunglasses", (170, 0, 51)),
    ("upper-clothes", (255, 85, 0)),
    ("dress", (0, 0, 85)),
    ("coat", (0, 119, 221)),
    ("socks", (85, 85, 0)),
    ("pants", (0, 85, 85)),
    ("torso-skin", (85, 51, 0)),
    ("scarf", (52, 86, 128)),
    ("skirt", (0, 128, 0)),
    ("face", (0, 0, 255)),
    ("left-arm", (51, 170, 221)),
    ("right-arm", (0, 255, 255)),
    ("left-leg", (85, 255, 170)),
    ("right-leg", (170, 255, 85)),
    ("left-shoe", (255, 255, 0)),
    ("right-shoe", (255, 170, 0)),
)
_LIP_NAMES = {10: "jumpsuits"}

# What a mirror image exchanges: left and right arms, legs and shoes.
FLIP_SWAP = ((14, 15), (16, 17), (18, 19))


@dataclasses.dataclass
class Config(tfds.core.BuilderConfig):
    """A release and how much of it.

    Attributes:
      release: 'cihp' or 'lip'.
      train, validation: official numbers of examples.
      first: of the training list, how many are taken; 0 is all.
    """

    name: str = ""
    release: str = "cihp"
    train: int = 28280
    validation: int = 5000
    first: int = 0

    def __post_init__(self):
        self.description = f"20 parts, {self.first or self.train} / {self.validation}."


# By release and split: the list, and the folders of images and of labels.
_CIHP = "instance-level_human_parsing"
_FILES = {
    "cihp": {
        "train": ("Training/train_id.txt", "Training/Images", "Training/Category_ids"),
        "validation": ("Validation/val_id.txt", "Validation/Images", "Validation/Category_ids"),
    },
    "lip": {
        "train": ("train_id.txt", "train_images", "train_segmentations"),
        "validation": ("val_id.txt", "val_images", "val_segmentations"),
    },
}
# CIHP's archive unpacks to a folder in a folder of the same name.
_TOPS = {"cihp": ("", f"{_CIHP}/", f"{_CIHP}/{_CIHP}/"), "lip": ("", "LIP/")}


@dataclasses.dataclass(frozen=True)
class Convert:
    """Item ─► image and parts."""

    def __call__(self, item: Item) -> dict[str, Any]:
        return {
            "image": _images.read_any_photo(item.files["image"]),
            "parts": _images.read_ids(item.files["parts"], key="parts"),
        }


class Builder(release.ReleaseBuilder):
    """Features `id`, `image` and `parts`: 20 classes, of which a mirror image swaps six.

    Nothing is resized; photographs differ in size, and grey ones are read as RGB. Record i is line
    i of the release's list, so that `d2`, the first 11,716, is what report D trains on if its list
    had the release's order, which the report does not say.
    """

    name = "lip"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 – as TFDS declares it
    BUILDER_CONFIGS = [  # noqa: RUF012
        Config(name="cihp"),
        Config(name="d2", first=11716),
        Config(name="single_person", release="lip", train=30462, validation=10000),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Get CIHP (cihp, d2) or LIP (single_person) of http://sysu-hcp.net/lip, unpacked.
    CIHP: the folder that manual_dir names holds Training/ and Validation/, or the folder
    instance-level_human_parsing with them; in each Images/, Category_ids/ and train_id.txt or
    val_id.txt. LIP: it holds train_images/, train_segmentations/, train_id.txt and likewise val.
    Licence: for non-commercial research only.
    """
    description = """
    Photographs of people with 20 classes of clothes and parts of the body, left and right told
    apart.
    """
    homepage = "http://sysu-hcp.net/lip"

    @property
    def specs(self) -> dict[str, labels.LabelSpec]:
        """What the arrays mean."""
        class_names, palette = zip(*_CLASSES, strict=True)
        if self.builder_config.release == "lip":
            class_names = tuple(_LIP_NAMES.get(i, name) for i, name in enumerate(class_names))
        return {
            "image": labels.image(),
            "parts": labels.classes(class_names, palette, flip_swap=FLIP_SWAP),
        }

    @property
    def convert(self) -> Convert:
        """See `Convert`."""
        return Convert()

    def find(self, manual_dir: str | os.PathLike, *, partial: bool = False) -> Items:
        """The listed examples of each split.

        Raises:
          DatasetError: a list is missing or has another length than the official one (shorter is
            all right if `partial`); or a listed example lacks a file.
        """
        config = self.builder_config
        tree = sources.Tree(manual_dir)
        problems = checks.Problems(manual_dir)
        items = {}
        for split, (list_file, images, parts) in _FILES[config.release].items():
            tops = [top for top in _TOPS[config.release] if tree.file(top + list_file)]
            if not tops:
                problems.add("without the file", list_file)
                continue
            names = _lists.read(tree.file(tops[0] + list_file))
            official = {split: getattr(config, split)}
            checks.counts(problems, {split: names}, official, partial=partial)
            if split == "train" and config.first:
                names = names[: config.first]
            files = {
                "image": tree.stems(f"{tops[0]}{images}/*.jpg"),
                "parts": tree.stems(f"{tops[0]}{parts}/*.png"),
            }
            names = _lists.complete(problems, split, names, files, partial=partial)
            items[split] = [Item(name, {key: files[key][name] for key in files}) for name in names]
            if not names and not problems:
                problems.add(f"split {split!r}", "has no examples")
        problems.raise_if_any()
        return items
