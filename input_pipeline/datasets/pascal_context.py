"""PASCAL-Context with five tasks: semantics, parts of people, saliency, edges and normals.

Mottaghi et al.: The Role of Context for Object Detection and Semantic Segmentation in the Wild
(CVPR 2014) and Chen et al.: Detect What You Can (CVPR 2014), as collected, with distilled saliency
and normals, for Maninis, Radosavovic, Kokkinos: Attentive Single-Tasking of Multiple Tasks (CVPR
2019). What papers call a benchmark of five tasks is this.
"""

import dataclasses
import os
from typing import Any

import numpy as np

from input_pipeline import _images, checks, class_edges, labels, release, sources
from input_pipeline.conversion import Item, Items
from input_pipeline.datasets import _lists, _matlab
from input_pipeline.datasets import _pascal_context_classes as context
from input_pipeline.datasets import _voc_classes as voc
from input_pipeline.errors import DatasetError
from input_pipeline.quiet_tensorflow import tfds
from input_pipeline.sources import File

_ROOTS = ("", "PASCAL_MT", "PASCALContext")  # the folder itself, or what the archives unpack to
_LISTS = {"train": "ImageSets/Context/train.txt", "validation": "ImageSets/Context/val.txt"}
_OFFICIAL_COUNTS = {"train": 4998, "validation": 5105}
_FILES = {
    "image": "JPEGImages/*.jpg",
    "parts": "human_parts/*.mat",
    "saliency": "sal_distill/*.png",
    "labels": "pascal-context/trainval/*.mat",
    "normals": "normals_distill/*.png",
}
# The first that there is; every id has one of the two.
_SEMSEG = ("semseg/VOC12/*.png", "semseg/pascal-context/*.png")
_SALIENT = 128  # of 255: what is over a half
_SHORTEST = 0.5  # of a vector that points anywhere


@dataclasses.dataclass(frozen=True)
class Convert:
    """Item ─► image, semseg, saliency, edges and, where the image has any, parts and normals."""

    def __call__(self, item: Item) -> dict[str, Any]:
        files = item.files
        label_map = read_labels(files["labels"])
        saliency = _images.read_ids(files["saliency"], key="saliency") >= _SALIENT
        example: dict[str, Any] = {
            "image": _images.read_any_photo(files["image"]),
            "semseg": _images.read_ids(files["semseg"], key="semseg"),
            "saliency": saliency.astype(np.uint8),
            "edge": class_edges.of_classes(label_map).astype(np.float32),
            "edge_truth": class_edges.boundaries(label_map).astype(np.float32),
        }
        parts = read_parts(files["parts"], label_map.shape)
        if parts is not None:
            example["parts"] = parts
        normals = _normals(files["normals"], label_map, str(files["labels"]))
        if normals.any():
            example["normals"] = normals
        return example


def read_labels(file: File) -> np.ndarray:
    """The LabelMap of PASCAL-Context: int32 [H, W], ids 1–459.

    Raises:
      DatasetError: the file does not load, or holds something else.
    """
    found = _matlab.read(file, key="edge", variable="LabelMap")
    if found.ndim != 2 or not np.issubdtype(found.dtype, np.number):
        raise DatasetError(
            f"{file}, 'LabelMap': expected ids [H, W], found {found.dtype} of shape "
            f"{list(found.shape)}."
        )
    ids = found.astype(np.int32)
    if (ids != found).any() or ids.min() < 1 or ids.max() > context.NUM_LABELS:
        raise DatasetError(
            f"{file}, 'LabelMap': expected ids 1–{context.NUM_LABELS}, found {found.min()} to "
            f"{found.max()}."
        )
    return ids


def read_parts(file: File, size: tuple[int, int]) -> np.ndarray | None:
    """The parts of people in an annotation of PASCAL-Part.

    Args:
      file: with a struct `anno` of `objects`, each with `class_ind` and `parts`.
      size: height and width.

    Returns:
      uint8 [H, W], ids 0–6, where a later part covers an earlier one; None if no person is
      annotated.

    Raises:
      DatasetError: the file does not load, or holds something else.
    """
    objects = _matlab.read_field(file, key="parts", variable="anno", field="objects")
    parts, is_annotated = np.zeros(size, np.uint8), False
    for thing in np.ravel(objects):
        if int(np.ravel(_field(thing, "class_ind", file))[0]) != context.PERSON:
            continue
        for part in np.ravel(_field(thing, "parts", file)):
            is_annotated = True
            name = str(np.ravel(_field(part, "part_name", file))[0])
            mask = np.asarray(_field(part, "mask", file))
            if name not in context.PART_OF_NAME or mask.shape != size:
                raise DatasetError(
                    f"{file}, key 'parts': expected masks of {size[0]}×{size[1]} of the parts "
                    f"{', '.join(context.PART_OF_NAME)}, found {name!r} of {list(mask.shape)}."
                )
            parts[mask > 0] = context.PART_OF_NAME[name]
    return parts if is_annotated else None


def _field(struct: Any, name: str, file: File) -> Any:
    names = getattr(getattr(struct, "dtype", None), "names", None) or ()
    if name not in names:
        raise DatasetError(
            f"{file}, key 'parts': expected a struct with a field {name!r}, found the fields "
            f"{', '.join(names) or 'none'}."
        )
    return struct[name]


def _normals(file: File, label_map: np.ndarray, labels_file: str) -> np.ndarray:
    """float32 [H, W, 3] of length 1, and 0 where the label is of a class without normals."""
    value = _images.read_colours(file, key="normals").astype(np.float64) / 127.5 - 1
    if value.shape[:2] != label_map.shape:
        raise DatasetError(
            f"{file}, key 'normals': expected {label_map.shape[0]}×{label_map.shape[1]} "
            f"(height×width), the size of {labels_file}, found {value.shape[0]}×{value.shape[1]}."
        )
    length = np.linalg.norm(value, axis=-1, keepdims=True)
    known = np.isin(label_map, context.LABELS_WITH_NORMALS)[..., None] & (length >= _SHORTEST)
    return np.divide(value, length, out=np.zeros_like(value), where=known).astype(np.float32)


class Builder(release.ReleaseBuilder):
    """Features `id`, `image`, `semseg` (21), `parts` (7), `saliency` (2), edges and `normals`.

    Every image has semantics, saliency and edges. An image without an annotated person has no
    parts, not even background, and one without a class whose normals count has no normals. Edges
    are made of all 459 classes; `edge` is the training target, `edge_truth` the truth of odsF.
    Normals of the files are not of length 1, as they have 8 bits; here they are, and are unknown
    where shorter than 0.5. Which way their axes point is stated nowhere. Nothing is resized.
    """

    name = "pascal_context"
    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES = {  # noqa: RUF012 – as TFDS declares it
        "1.0.0": "First version.",
        "1.1.0": "The truth of odsF.",
    }
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name="five_tasks", description="4998 / 5105, five tasks."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    The folder that manual_dir names holds, or is, what one of these unpacks to:
      PASCAL_MT: PASCAL_MT.tgz, linked from https://github.com/facebookresearch/astmt;
      PASCALContext: PASCALContext.tar.gz, linked from https://github.com/prismformore/InvPT.
    Licence: the photographs are Flickr's, under its terms of use; the annotations are for research.
    """
    description = """
    Photographs of PASCAL VOC 2010 with 21 semantic classes, seven parts of people, saliency, edges
    and surface normals.
    """
    homepage = "https://www.cs.stanford.edu/~roozbeh/pascal-context/"

    @property
    def specs(self) -> dict[str, labels.LabelSpec]:
        """What the arrays mean."""
        return {
            "image": labels.image(),
            "semseg": labels.classes(voc.NAMES, voc.PALETTE),
            "parts": labels.classes(voc.PART_NAMES, voc.PART_PALETTE),
            "saliency": labels.saliency(),
            "edge": labels.edges(),
            "edge_truth": labels.edges(),
            "normals": labels.normals(),
        }

    @property
    def convert(self) -> Convert:
        """See `Convert`."""
        return Convert()

    def find(self, manual_dir: str | os.PathLike, *, partial: bool = False) -> Items:
        """The listed images, in the order of the lists.

        Raises:
          DatasetError: a list is missing or has another length than the official one (shorter is
            all right if `partial`), the two overlap, or a listed image lacks a file.
        """
        tree = sources.Tree(manual_dir)
        root = next((r for r in _ROOTS if (tree.root / r / "ImageSets").is_dir()), _ROOTS[0])
        problems = checks.Problems(tree.root / root)
        lists = _lists.read_all(problems, tree, _LISTS, root=root)
        problems.raise_if_any("Name the folder that has ImageSets/ and JPEGImages/.")
        checks.counts(problems, lists, _OFFICIAL_COUNTS, partial=partial)
        both = sorted(set(lists["train"]) & set(lists["validation"]))
        problems.add("in both lists", *both)
        files = {key: tree.stems(os.path.join(root, name)) for key, name in _FILES.items()}
        first, second = (tree.stems(os.path.join(root, name)) for name in _SEMSEG)
        files["semseg"] = {**second, **first}
        items = _lists.items(problems, lists, files, partial=partial)
        checks.counts(problems, items, _OFFICIAL_COUNTS, partial=partial)
        problems.raise_if_any()
        return items
