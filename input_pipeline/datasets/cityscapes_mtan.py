"""Cityscapes as the authors of MTAN preprocessed it: 7 or 19 classes and inverse depth.

Liu, Johns, Davison: End-to-End Multi-Task Learning with Attention (CVPR 2019); report C trains on
it. The images are used as the authors resized them. The release has not been at hand: layout and
encodings are those that its readers agree on, and where they are inferred, this file says so.
"""

import dataclasses
import os
from typing import Any

from input_pipeline import _images, checks, labels, release, sources
from input_pipeline.conversion import Item, Items
from input_pipeline.datasets import _cityscapes_classes as cityscapes
from input_pipeline.datasets import _mtan_arrays as mtan
from input_pipeline.quiet_tensorflow import tfds

_OFFICIAL_COUNTS = {"train": 2975, "validation": 500}
# In the set of 128×256 the 7 classes lie in `label`, or in `label_7` as at 256×512.
_LABEL_FOLDERS = {7: ("label_7", "label"), 19: ("label_19",)}
# Each category in the colour of its first class: road, building, pole, ...
_CATEGORY_PALETTE = tuple(
    cityscapes.PALETTE[cityscapes.CATEGORY_OF_TRAIN_ID.index(category)]
    for category in range(len(cityscapes.CATEGORY_NAMES))
)
_CLASSES = {
    # The order of the seven is inferred: that of the paper, void left out.
    7: (cityscapes.CATEGORY_NAMES, _CATEGORY_PALETTE),
    19: (cityscapes.NAMES, cityscapes.PALETTE),
}


@dataclasses.dataclass
class Config(tfds.core.BuilderConfig):
    """One of the two downloads and the set of classes.

    Attributes:
      height, width: of the images in pixels.
      num_classes: 7 or 19.
    """

    name: str = ""
    height: int = 128
    width: int = 256
    num_classes: int = 7

    def __post_init__(self):
        suffix = "" if self.num_classes == 7 else f"_{self.num_classes}classes"
        self.name = self.name or f"{self.height}x{self.width}{suffix}"
        self.description = f"{self.height}×{self.width}, {self.num_classes} classes."


@dataclasses.dataclass(frozen=True)
class Convert:
    """Item ─► image, semseg, depth."""

    num_classes: int

    def __call__(self, item: Item) -> dict[str, Any]:
        arrays = {key: _images.read_npy(file, key=key) for key, file in item.files.items()}
        where = {key: f"{file}, key {key!r}" for key, file in item.files.items()}
        return {
            "image": mtan.image(arrays["image"], where["image"]),
            "semseg": mtan.classes(arrays["semseg"], self.num_classes, where["semseg"]),
            "depth": mtan.depth(arrays["depth"], where["depth"]),
        }


class Builder(release.ReleaseBuilder):
    """Features `id`, `image`, `semseg` and `depth`, which is inverse depth.

    `depth` is the official 16-bit disparity divided by 65535: between 0 and 0.4922, 0 where it is
    unknown. The disparity in pixels at the width of 2048 is (65535·v − 1)/256. Images are stored as
    8 bits, the release's floats times 255, rounded. `val` is called `validation`; its 500 images
    are what papers call the test set.
    """

    name = "cityscapes_mtan"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 – as TFDS declares it
    BUILDER_CONFIGS = [  # noqa: RUF012
        Config(),
        Config(num_classes=19),
        Config(height=256, width=512),
        Config(height=256, width=512, num_classes=19),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Get the preprocessed Cityscapes of https://github.com/lorenmt/mtan, 128×256 (651 MB) or 256×512
    (2.4 GB). The folder that manual_dir names holds train/ and val/, and each of them image/,
    depth/ and label/, label_7/ or label_19/ with 0.npy, 1.npy, ...
    Licence: that of Cityscapes, non-commercial use only; the images may not be passed on.
    """
    description = """
    2975 and 500 driving photographs with 7 or 19 classes and inverse depth, as in the experiments
    of Liu et al. 2019.
    """
    homepage = "https://github.com/lorenmt/mtan"

    @property
    def specs(self) -> dict[str, labels.LabelSpec]:
        """What the arrays mean."""
        class_names, palette = _CLASSES[self.builder_config.num_classes]
        return {
            "image": labels.image(),
            "semseg": labels.classes(class_names, palette),
            "depth": labels.LabelSpec(
                kind="inverse_depth",
                dtype="float32",
                zoom_power=1,
                invalid=0.0,
                valid_range=(0.0, 0.5),
            ),
        }

    @property
    def size(self) -> tuple[int, int]:
        """Of the configuration."""
        return self.builder_config.height, self.builder_config.width

    @property
    def convert(self) -> Convert:
        """See `Convert`."""
        return Convert(self.builder_config.num_classes)

    def find(self, manual_dir: str | os.PathLike, *, partial: bool = False) -> Items:
        """The .npy files of each split, by number.

        Raises:
          DatasetError: there is no folder of labels; a file lacks its partners; or the number of
            examples differs from the release's and `partial` is false.
        """
        tree = sources.Tree(manual_dir)
        problems = checks.Problems(manual_dir)
        candidates = _LABEL_FOLDERS[self.builder_config.num_classes]
        items = {}
        for split, folder in mtan.SPLITS.items():
            there = [name for name in candidates if (tree.root / folder / name).is_dir()]
            if not there:
                wanted = " or ".join(f"{folder}/{name}" for name in candidates)
                problems.add("without the folder", wanted)
                continue
            folders = {"image": "image", "semseg": there[0], "depth": "depth"}
            items[split] = mtan.items(tree, problems, split, folders)
        if not problems:
            checks.counts(problems, items, _OFFICIAL_COUNTS, partial=partial)
        problems.raise_if_any()
        return items
