"""Cityscapes: street scenes of 50 cities with semantics, instances and stereo disparity.

Cordts et al.: The Cityscapes Dataset for Semantic Urban Scene Understanding (CVPR 2016). The class
table is that of its scripts; disparity and camera are encoded as their README says.
"""

import dataclasses
import json
import os
from typing import Any, NamedTuple

import numpy as np

from input_pipeline import _images, checks, labels, release, sources
from input_pipeline.conversion import Item, Items
from input_pipeline.datasets import _cityscapes_classes as table
from input_pipeline.errors import DatasetError
from input_pipeline.quiet_tensorflow import tfds

FULL_SIZE = (1024, 2048)
SIZES = ((128, 256), (256, 512), (512, 1024), FULL_SIZE)
FARTHEST = 300.0  # metres; what stereo puts farther away counts as unknown
# The greatest disparity that 16 bits can say, 256 px, in front of the widest baseline.
_NEAREST = 1.8
_GREATEST_RAW = 32257  # in the training split: 126 px

_OFFICIAL_COUNTS = {"train": 2975, "validation": 500}
_FOLDERS = {"train": "train", "validation": "val"}
_TYPES = ("leftImg8bit", "gtFine", "disparity", "camera")
_ARCHIVES = tuple(f"{name}_trainvaltest.zip" for name in _TYPES)
# By what is read: folder and ending.
_FILES = {
    "image": ("leftImg8bit", "_leftImg8bit.png"),
    "semseg": ("gtFine", "_gtFine_labelIds.png"),
    "instance": ("gtFine", "_gtFine_instanceIds.png"),
    "depth": ("disparity", "_disparity.png"),
    "camera": ("camera", "_camera.json"),
}


class Camera(NamedTuple):
    """What turns the disparity of a frame into metres: Z = baseline · fx / d.

    Attributes:
      baseline: between the two cameras, in metres.
      fx: focal length in pixels of the full size.
    """

    baseline: float
    fx: float


def read_camera(file: sources.File) -> Camera:
    """Reads `*_camera.json`.

    Raises:
      DatasetError: the file is missing or no JSON, or a number is missing or not positive.
    """
    try:
        contents = json.loads(file.read())
        camera = Camera(contents["extrinsic"]["baseline"], contents["intrinsic"]["fx"])
        if not all(isinstance(value, int | float) and 0 < value < np.inf for value in camera):
            raise ValueError(f"found {camera}")
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{file}: expected a camera file with positive numbers extrinsic.baseline and "
            f"intrinsic.fx ({type(error).__name__}: {error})."
        ) from error
    return camera


def disparity(raw: np.ndarray, width: int = FULL_SIZE[1]) -> np.ndarray:
    """Disparity in pixels: (p − 1) / 256 at full size, 0 = unknown.

    Args:
      raw: uint16 [H, W], p as in the files; 0 is unknown, and 1 is infinitely far away.
      width: of the image whose pixels are meant. The files' are pixels of the full width, 2048.

    Returns:
      float32 [H, W]. What is infinitely far away, of disparity 0, is unknown too.
    """
    pixels = (raw.astype(np.float64) - 1) / 256 * (width / FULL_SIZE[1])
    return np.where(raw > 1, pixels, 0).astype(np.float32)


def inverse_depth(raw: np.ndarray) -> np.ndarray:
    """The raw value over 65535, 0 = unknown, as the authors of MTAN use it: float32 [H, W]."""
    return (raw.astype(np.float64) / 65535).astype(np.float32)


def metric_depth(raw: np.ndarray, camera: Camera) -> np.ndarray:
    """Metres along the optical axis, 0 = unknown or farther than `FARTHEST`: float32 [H, W]."""
    pixels = (raw.astype(np.float64) - 1) / 256
    known = raw > 1  # 1 is a disparity of 0
    depth = camera.baseline * camera.fx / np.where(known, pixels, 1)
    return np.where(known & (depth <= FARTHEST), depth, 0).astype(np.float32)


def instances(raw: np.ndarray, where: str) -> np.ndarray:
    """Instance ids as in the files, class · 1000 + number, 0 = none: uint16 [H, W].

    Args:
      raw: uint16 [H, W]; below 1000 is a class, or a group of things that nobody told apart.
      where: for the message.

    Raises:
      DatasetError: a value is of no class.
    """
    single = raw >= 1000
    class_ids = np.where(single, raw // 1000, raw)
    wrong = class_ids >= len(table.CLASSES)
    if wrong.any():
        raise DatasetError(
            f"{where}: expected class ids 0–{len(table.CLASSES) - 1}, or these · 1000 + a number, "
            f"found {np.unique(raw[wrong])[:10].tolist()} in {wrong.sum()} of {raw.size} pixels."
        )
    return np.where(single, raw, np.uint16(0))


def lookup(ids: np.ndarray, mapping: tuple[int, ...], where: str) -> np.ndarray:
    """Replaces the ids 0 ... 33 of a label file: uint8 [H, W].

    Args:
      ids: uint8 [H, W].
      mapping: by id, what it becomes.
      where: for the message.

    Raises:
      DatasetError: there are other ids. −1, the licence plate, occurs in polygons only.
    """
    if ids.max() >= len(mapping):
        wrong = np.unique(ids[ids >= len(mapping)])
        raise DatasetError(
            f"{where}: expected label ids 0–{len(mapping) - 1}, found {wrong[:10].tolist()} in "
            f"{(ids >= len(mapping)).sum()} of {ids.size} pixels. *_labelTrainIds.png and coloured "
            "labels are not read; the release has *_labelIds.png."
        )
    return np.asarray(mapping, np.uint8)[ids]


class _Classes(NamedTuple):
    """A set of classes: what the ids of the files become, and what that means."""

    of_id: tuple[int, ...]
    spec: labels.LabelSpec
    instance_classes: tuple[str, ...]


_ALL_NAMES = tuple(row.name for row in table.CLASSES)
_CLASSES = {
    "classes": _Classes(
        table.TRAIN_ID_OF_ID, labels.classes(table.NAMES, table.PALETTE), table.INSTANCE_CLASSES
    ),
    "categories": _Classes(
        table.CATEGORY_OF_ID,
        labels.classes(
            table.CATEGORY_NAMES,
            tuple(
                next(row.colour for row in table.TRAIN_CLASSES if row.category == name)
                for name in table.CATEGORY_NAMES
            ),
        ),
        ("human", "vehicle"),
    ),
    "ids": _Classes(
        tuple(range(len(table.CLASSES))),
        labels.classes(_ALL_NAMES, tuple(row.colour for row in table.CLASSES)),
        tuple(row.name for row in table.CLASSES if row.has_instances),
    ),
}


def _depth_spec(kind: str, width: int) -> labels.LabelSpec:
    if kind == "metric":
        return labels.depth((_NEAREST, FARTHEST))
    spec = labels.LabelSpec(kind="disparity", dtype="float32", zoom_power=1, invalid=0.0)
    if kind == "disparity":
        greatest = float(disparity(np.array(_GREATEST_RAW), width))
        return dataclasses.replace(spec, unit="px", valid_range=(0.0, greatest))
    return dataclasses.replace(spec, kind="inverse_depth", valid_range=(0.0, 0.5))


_DEPTH_KINDS = ("metric", "disparity", "inverse")
# The names of configurations begin with these; the first three stand for a protocol.
_PREFIXES = {
    "": ("classes", "metric"),
    "mtan_": ("categories", "inverse"),
    "ids_": ("ids", "disparity"),
} | {
    f"{classes}_{depth}_": (classes, depth)
    for classes in _CLASSES
    for depth in _DEPTH_KINDS
    if (classes, depth)
    not in (("classes", "metric"), ("categories", "inverse"), ("ids", "disparity"))
}


@dataclasses.dataclass
class CityscapesConfig(tfds.core.BuilderConfig):
    """What is made of the release.

    Attributes:
      size: (height, width).
      classes: 'classes', the 19 of the benchmark; 'categories', the 7 without void; 'ids', all 34.
      depth: what the key `depth` holds: 'metric', metres; 'disparity', pixels of the stored size;
        'inverse', the raw 16-bit value over 65535.
    """

    name: str = ""
    size: tuple[int, int] = FULL_SIZE
    classes: str = "classes"
    depth: str = "metric"


@dataclasses.dataclass(frozen=True)
class Convert:
    """Reads one frame. Attributes as of `CityscapesConfig`."""

    size: tuple[int, int]
    classes: str
    depth: str

    def __call__(self, item: Item) -> dict[str, Any]:
        photo = _images.read_photo(item.files["image"])
        ids = _images.read_ids(item.files["semseg"], key="semseg")
        instance = _images.read_uint16(item.files["instance"], key="instance")
        raw = _images.read_uint16(item.files["depth"], key="depth")
        read = {"image": photo.pixels, "semseg": ids, "instance": instance, "depth": raw}
        for key, array in read.items():
            if array.shape[:2] != FULL_SIZE:
                raise DatasetError(
                    f"{item.files[key]}, key {key!r}: expected {FULL_SIZE[0]}×{FULL_SIZE[1]} "
                    f"(height×width), found {array.shape[0]}×{array.shape[1]}."
                )
        if self.size != FULL_SIZE:
            photo = _images.resize_image(photo.pixels, self.size)
        semseg = lookup(ids, _CLASSES[self.classes].of_id, f"{item.files['semseg']}, key 'semseg'")
        instance = instances(instance, f"{item.files['instance']}, key 'instance'")
        return {
            "image": photo,
            "semseg": _images.resize_nearest(semseg, self.size),
            "depth": self._depth(_images.resize_nearest(raw, self.size), item),
            "instance": _images.resize_nearest(instance, self.size),
        }

    def _depth(self, raw: np.ndarray, item: Item) -> np.ndarray:
        if self.depth == "metric":
            return metric_depth(raw, read_camera(item.files["camera"]))
        return disparity(raw, self.size[1]) if self.depth == "disparity" else inverse_depth(raw)


class Builder(release.ReleaseBuilder):
    """Features, all H × W: `id`, 'aachen_000000_000019'; `image`; `semseg`; `depth`; `instance`.

    Photographs are resized by Pillow's antialiased bilinear filter, everything else by nearest
    neighbour, before it is decoded. See `CityscapesConfig` for what the arrays hold.
    """

    name = "cityscapes"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 – as TFDS declares it
    BUILDER_CONFIGS = [  # noqa: RUF012
        CityscapesConfig(
            name=f"{prefix}{size[0]}x{size[1]}",
            description=f"{classes}, {depth} depth, {size[0]}×{size[1]}.",
            size=size,
            classes=classes,
            depth=depth,
        )
        for prefix, (classes, depth) in _PREFIXES.items()
        for size in SIZES
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Register at https://www.cityscapes-dataset.com and download leftImg8bit_trainvaltest.zip,
    gtFine_trainvaltest.zip, disparity_trainvaltest.zip and camera_trainvaltest.zip. The folder that
    manual_dir names holds these archives, or what is in them: leftImg8bit/, gtFine/, disparity/ and
    camera/. Licence: terms of its own, non-commercial use only, no redistribution of images.
    """
    description = """
    Street scenes of 50 cities with semantics, instances of people and vehicles, and depth from
    stereo: 2975 frames to train and 500 to validate. The labels of the test split are not public.
    """
    homepage = "https://www.cityscapes-dataset.com"

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of all arrays."""
        return self.builder_config.size

    @property
    def specs(self) -> dict[str, labels.LabelSpec]:
        """What `image`, `semseg`, `depth` and `instance` mean."""
        config = self.builder_config
        classes = _CLASSES[config.classes]
        return {
            "image": labels.image(),
            "semseg": classes.spec,
            "depth": _depth_spec(config.depth, config.size[1]),
            "instance": labels.instances(classes.instance_classes),
        }

    @property
    def convert(self) -> Convert:
        """See `Convert`."""
        config = self.builder_config
        return Convert(config.size, config.classes, config.depth)

    def find(self, manual_dir: str | os.PathLike, *, partial: bool = False) -> Items:
        """The files of the frames of train and val, sorted by name.

        Raises:
          DatasetError: neither an archive nor its folder is there, frames lack files, or the number
            of frames is not the official one and `partial` is false.
        """
        tree = sources.Tree(manual_dir, _ARCHIVES)
        wanted = dict(_FILES)
        if self.builder_config.depth != "metric":
            del wanted["camera"]
        problems = checks.Problems(manual_dir)
        for folder in dict.fromkeys(folder for folder, _ in wanted.values()):
            archive = f"{folder}_trainvaltest.zip"
            if not (tree.root / folder).is_dir() and not (tree.root / archive).is_file():
                problems.add("missing", f"{archive} or its folder {folder}/")
        problems.raise_if_any(" ".join(self.MANUAL_DOWNLOAD_INSTRUCTIONS.split()))
        items = {}
        for split, of_split in _FOLDERS.items():
            files = {
                key: tree.stems(f"{folder}/{of_split}/*/*{ending}")
                for key, (folder, ending) in wanted.items()
            }
            names = checks.partners(problems, split, files)
            items[split] = [Item(name, {key: files[key][name] for key in files}) for name in names]
        if not problems:
            checks.counts(problems, items, _OFFICIAL_COUNTS, partial=partial)
        problems.raise_if_any()
        return items
