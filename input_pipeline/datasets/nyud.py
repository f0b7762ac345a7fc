"""NYUD-v2 as the multi-task benchmarks read it: semantics, depth, normals and edges.

Silberman, Hoiem, Kohli, Fergus: Indoor Segmentation and Support Inference from RGBD Images (ECCV
2012), in the two copies that are around: that of Brüggemann et al.: Exploring Relational Context
for Multi-Task Dense Prediction (ATRC, ICCV 2021), which InvPT and its successors read, and that of
Vandenhende et al.: Multi-Task Learning for Dense Prediction Tasks: A Survey (TPAMI 2021). Results
on the two are not comparable.
"""

import dataclasses
import os
from typing import Any

import numpy as np

from input_pipeline import _images, checks, labels, release, sources
from input_pipeline.conversion import Item, Items
from input_pipeline.datasets import _lists
from input_pipeline.datasets import _mtan_arrays as arrays
from input_pipeline.datasets import _nyu_classes as nyu
from input_pipeline.errors import DatasetError
from input_pipeline.quiet_tensorflow import tfds
from input_pipeline.sources import File

_ROOTS = ("", "NYUDv2", "NYUD_MT")  # the folder itself, or what the archives unpack to
_LISTS = {"train": "gt_sets/train.txt", "validation": "gt_sets/val.txt"}
_OFFICIAL_COUNTS = {"train": 795, "validation": 654}
_FILES = {
    "atrc": {
        "image": "images/*.png",
        "semseg": "segmentation/*.png",
        "depth": "depth/*.npy",
        "normals": "normals/*.png",
        "edge": "edge/*.png",
    },
    "survey": {
        "image": "images/*.jpg",
        "semseg": "segmentation/*.png",
        "depth": "depth/*.npy",
        "normals": "normals/*.npy",
        "edge": "edge/*.npy",
    },
}
_OTHER = {"atrc": "survey", "survey": "atrc"}
# Height and width of what networks of ATRC and the InvPT line see: files are padded to it, never
# resized.
_LARGEST = (448, 576)
_DEPTH_RANGE = (0.01, 10.0)  # metres
_SHORTEST = 0.5  # of a vector that points anywhere


@dataclasses.dataclass
class Config(tfds.core.BuilderConfig):
    """Which copy, and what of its normals is known.

    Attributes:
      source: 'atrc' or 'survey'.
      short_normals: whether colours near mid-grey, which are no direction, count as normals.
    """

    source: str = "atrc"
    short_normals: bool = False


@dataclasses.dataclass(frozen=True)
class Convert:
    """Item ─► image, semseg, normals, edge and, where any of it is known, depth."""

    source: str
    short_normals: bool

    def __call__(self, item: Item) -> dict[str, Any]:
        files = item.files
        example: dict[str, Any] = {
            "image": _images.read_any_photo(files["image"]),
            "semseg": _semseg(files["semseg"]),
            "normals": self._normals(files["normals"]),
            "edge": _edge(files["edge"]),
        }
        depth = arrays.depth(
            _images.read_npy(files["depth"], key="depth"), f"{files['depth']}, key 'depth'"
        )
        if depth.any():
            example["depth"] = depth
        size = example["image"].pixels.shape[:2]
        if self.source == "atrc" and (size[0] > _LARGEST[0] or size[1] > _LARGEST[1]):
            raise DatasetError(
                f"{files['image']}: expected at most {_LARGEST[0]}×{_LARGEST[1]} (height×width), "
                f"found {size[0]}×{size[1]}. The copy of the survey has larger images: prepare "
                "nyud/survey."
            )
        return example

    def _normals(self, file: File) -> np.ndarray:
        if file.name.endswith(".npy"):
            value = _images.read_npy(file, key="normals")
            return arrays.normals(value, f"{file}, key 'normals'")
        value = _images.read_colours(file, key="normals").astype(np.float64) / 127.5 - 1
        return unit(value, 0.0 if self.short_normals else _SHORTEST)


def unit(vectors: np.ndarray, shortest: float) -> np.ndarray:
    """Float [H, W, 3] ─► float32 of length 1, or 0 where the vector is shorter than `shortest`."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    known = (length >= shortest) & (length > 0)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=known).astype(np.float32)


def _semseg(file: File) -> np.ndarray:
    """Ids 0–40 of the file, of which 0 is void ─► 0–39 and 255."""
    ids = _images.read_ids(file, key="semseg").astype(np.int32)
    if ids.max() > len(nyu.NAMES_40):
        raise DatasetError(
            f"{file}, key 'semseg': expected ids 0–{len(nyu.NAMES_40)}, found {ids.max()}."
        )
    return np.where(ids == 0, nyu.IGNORE, ids - 1)


def _edge(file: File) -> np.ndarray:
    """float32 [H, W] of 0 to 1, from 8 bits or from an array."""
    if not file.name.endswith(".npy"):
        return _images.read_ids(file, key="edge").astype(np.float32) / 255
    value = _images.read_npy(file, key="edge")
    value = value[..., 0] if value.ndim == 3 and value.shape[2] == 1 else value
    if not ((value >= 0) & (value <= 1)).all():
        raise DatasetError(
            f"{file}, key 'edge': expected values from 0 to 1, found {value.min()} to "
            f"{value.max()}."
        )
    return value.astype(np.float32)


class Builder(release.ReleaseBuilder):
    """Features `id`, `image`, `semseg` (40 classes), `depth` in metres, `normals` and `edge`.

    Nothing is resized, and the size is not asserted, as no source states it. `edge` of `atrc` is
    the file's value / 255, not thresholded. Its normals come as 8-bit colours, in which no vector
    is exactly 0: what is shorter than 0.5 is unknown, and everything is known with
    `atrc_all_normals`, as in the InvPT line. Vectors are made unit, which their training targets
    are not to the last digit. Which way the normals' axes point is stated nowhere. The test split
    is called `validation`, as there is no other one.
    """

    name = "nyud"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 – as TFDS declares it
    BUILDER_CONFIGS = [  # noqa: RUF012
        Config(name="atrc", description="The copy of ATRC and the InvPT line."),
        Config(
            name="atrc_all_normals",
            short_normals=True,
            description="The copy of ATRC; mid-grey normals count, as in the InvPT line.",
        ),
        Config(name="survey", source="survey", description="The copy of the survey."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    The folder that manual_dir names holds, or is, what one of these unpacks to:
      NYUDv2: NYUDv2.tar.gz, linked from https://github.com/brdav/atrc (atrc, atrc_all_normals);
      NYUD_MT: NYUD_MT.tgz, linked from
      https://github.com/SimonVandenhende/Multi-Task-Learning-PyTorch (survey).
    Licence: none that we know of; the data set's page asks to cite the paper.
    """
    description = """
    1449 photographs of indoor scenes from a Kinect, 795 to train and 654 to test, with 40 classes,
    depth, surface normals and edges.
    """
    homepage = "https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html"

    @property
    def specs(self) -> dict[str, labels.LabelSpec]:
        """What the arrays mean."""
        return {
            "image": labels.image(),
            "semseg": labels.classes(nyu.NAMES_40, nyu.PALETTE_40),
            "depth": labels.depth(_DEPTH_RANGE),
            "normals": labels.normals(),
            "edge": labels.edges(),
        }

    @property
    def convert(self) -> Convert:
        """See `Convert`."""
        return Convert(self.builder_config.source, self.builder_config.short_normals)

    def find(self, manual_dir: str | os.PathLike, *, partial: bool = False) -> Items:
        """The listed frames, in the order of the lists.

        Raises:
          DatasetError: a list is missing or has another length than the official one (shorter is
            all right if `partial`), a listed frame lacks a file, or it is the other copy.
        """
        tree = sources.Tree(manual_dir)
        root = next((r for r in _ROOTS if (tree.root / r / "gt_sets").is_dir()), _ROOTS[0])
        problems = checks.Problems(tree.root / root)
        lists = _lists.read_all(problems, tree, _LISTS, root=root)
        problems.raise_if_any("Name the folder that has gt_sets/ and images/.")
        source = self.builder_config.source
        self._refuse_other_copy(tree, root, source)
        files = {
            key: tree.stems(os.path.join(root, pattern)) for key, pattern in _FILES[source].items()
        }
        checks.counts(problems, lists, _OFFICIAL_COUNTS, partial=partial)
        items = _lists.items(problems, lists, files, partial=partial)
        checks.counts(problems, items, _OFFICIAL_COUNTS, partial=partial)
        problems.raise_if_any()
        return items

    def _refuse_other_copy(self, tree: sources.Tree, root: str, source: str) -> None:
        def images(of_source):
            return tree.glob(os.path.join(root, _FILES[of_source]["image"]))

        if not images(source) and images(_OTHER[source]):
            raise DatasetError(
                f"{tree.root / root}: expected {_FILES[source]['image']}, found "
                f"{_FILES[_OTHER[source]]['image']}: this is the copy of nyud/{_OTHER[source]}."
            )
