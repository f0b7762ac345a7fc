"""Miniscapes: 25,000 rendered driving scenes with 19 classes and depth, of the ETH course.

A reduced Synscapes (7D Labs); reports A and B train on it. The data lay with the course and cannot
be had any more; who has a copy can use it here. `test` has no labels and is not converted.
"""

import dataclasses
import os
from typing import Any

import numpy as np

from input_pipeline import _images, checks, labels, release, sources
from input_pipeline.conversion import Item, Items
from input_pipeline.datasets import _cityscapes_classes as cityscapes
from input_pipeline.quiet_tensorflow import tfds

_FOLDERS = {"train": "train", "validation": "val"}
# By key: the folder and the endings.
_FILES = {
    "image": ("rgb", (".jpg", ".png")),
    "semseg": ("semseg", (".png",)),
    "depth": ("depth", (".png",)),
}
_OFFICIAL_COUNTS = {"train": 20000, "validation": 2500}

NEAREST, FARTHEST = 4.0, 300.0  # metres

# Over the training split: the constants of the course, which the reports normalise with.
_DEPTH_MEAN = 27.0727
_DEPTH_STDDEV = 29.1264


def depth_of_codes() -> np.ndarray:
    """float32 [256], metres by 8-bit code.

    Codes 1 ... 255 are inverse depths in equal steps from 1/300 to 1/4 per metre; code 0 is
    unknown and has depth 0.
    """
    steps = np.arange(255) / 254
    inverse = steps * (1 / NEAREST - 1 / FARTHEST) + 1 / FARTHEST
    return np.concatenate([[0.0], 1 / inverse]).astype(np.float32)


_DEPTH_OF_CODE = depth_of_codes()


@dataclasses.dataclass(frozen=True)
class Convert:
    """Item ─► image, semseg, depth."""

    def __call__(self, item: Item) -> dict[str, Any]:
        return {
            "image": _images.read_photo(item.files["image"]),
            "semseg": _images.read_ids(item.files["semseg"], key="semseg"),
            "depth": _DEPTH_OF_CODE[_images.read_ids(item.files["depth"], key="depth")],
        }


class Builder(release.ReleaseBuilder):
    """Features `id`, `image`, `semseg` (Cityscapes train ids) and `depth` in metres.

    Nothing is resized; reports A and B crop right and bottom to multiples of 32. Depth does not
    change when an augmentation zooms, as in the reports.
    """

    name = "miniscapes"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 – as TFDS declares it
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name="course", description="19 classes, depth, 20000 / 2500."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    The data were given to the students of the ETH course and are not public. The folder that
    manual_dir names holds train/ and val/, each with rgb/*.jpg, semseg/*.png and depth/*.png.
    Licence: for the course only; see that of Synscapes (7D Labs).
    """
    description = """
    Driving scenes of Synscapes, 360×720, with the 19 classes of Cityscapes and metric depth.
    """
    homepage = "https://synscapes.on.liu.se"
    one_size = True

    @property
    def specs(self) -> dict[str, labels.LabelSpec]:
        """What the arrays mean."""
        return {
            "image": labels.image(),
            "semseg": labels.classes(cityscapes.NAMES, cityscapes.PALETTE),
            "depth": labels.depth(
                (NEAREST, FARTHEST), mean=_DEPTH_MEAN, stddev=_DEPTH_STDDEV, zoom=False
            ),
        }

    @property
    def convert(self) -> Convert:
        """See `Convert`."""
        return Convert()

    def find(self, manual_dir: str | os.PathLike, *, partial: bool = False) -> Items:
        """The files of each split, by number.

        Raises:
          DatasetError: a file lacks its partners; or the number of examples differs from the
            release's and `partial` is false.
        """
        tree = sources.Tree(manual_dir)
        problems = checks.Problems(manual_dir)
        items = {}
        for split, folder in _FOLDERS.items():
            files = {
                key: tree.stems(f"{folder}/{name}/*", suffixes=endings)
                for key, (name, endings) in _FILES.items()
            }
            empty = [f"{folder}/{_FILES[key][0]}" for key in files if not files[key]]
            problems.add("no files in", *empty)
            names = checks.partners(problems, split, files)
            # 2 before 10, although nothing pads the numbers.
            names.sort(key=lambda name: (len(name), name))
            items[split] = [Item(name, {key: files[key][name] for key in files}) for name in names]
        if not problems:
            checks.counts(problems, items, _OFFICIAL_COUNTS, partial=partial)
        problems.raise_if_any()
        return items
