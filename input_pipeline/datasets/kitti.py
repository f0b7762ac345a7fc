"""KITTI 2015: 200 driving photographs with stereo disparity, depth, 19 classes and instances.

Menze, Geiger: Object Scene Flow for Autonomous Vehicles (CVPR 2015) for disparity; Alhaija et al.:
Augmented Reality Meets Computer Vision (IJCV 2018) for semantics and instances of the same frames.
"""

import dataclasses
import os
from typing import Any

import numpy as np

from input_pipeline import _images, checks, labels, release, sources
from input_pipeline.conversion import Item, Items
from input_pipeline.datasets import _cityscapes_classes as cityscapes
from input_pipeline.errors import DatasetError
from input_pipeline.quiet_tensorflow import tfds
from input_pipeline.sources import File

_TRAINING = 160  # frames; the rest is for validation
_OFFICIAL_COUNTS = {"train": _TRAINING, "validation": 40}

NEAREST, FARTHEST = 1.0, 300.0  # metres
_DISPARITY_STEP = 1 / 256  # pixels

# By key: the folder of the archive, and the frames in it.
_FILES = {
    "image": ("data_scene_flow", "training/image_2/*_10.png"),
    "disparity": ("data_scene_flow", "training/disp_occ_0/*_10.png"),
    "camera": ("data_scene_flow_calib", "training/calib_cam_to_cam/*.txt"),
    "semseg": ("data_semantics", "training/semantic/*_10.png"),
    "instance": ("data_semantics", "training/instance/*_10.png"),
}

_TRAIN_ID_OF_ID = np.array(cityscapes.TRAIN_ID_OF_ID, np.uint8)
_THINGS = [
    row.id for row in cityscapes.CLASSES if row.has_instances and row.train_id != cityscapes.IGNORE
]


def disparity_of_raw(raw: np.ndarray) -> np.ndarray:
    """uint16 ─► float32 pixels; 0 is unknown in both."""
    return (raw * np.float64(_DISPARITY_STEP)).astype(np.float32)


def depth_of_disparity(disparity: np.ndarray, focal_times_baseline: float) -> np.ndarray:
    """float32 pixels ─► float32 metres; 0 where disparity is unknown or depth beyond `FARTHEST`.

    Args:
      disparity: of any shape.
      focal_times_baseline: focal length in pixels times the distance of the cameras in metres.
    """
    known = disparity >= focal_times_baseline / FARTHEST
    depth = np.zeros(disparity.shape)
    np.divide(focal_times_baseline, disparity, out=depth, where=known)
    return depth.astype(np.float32)


def read_camera(file: File) -> float:
    """Focal length in pixels times baseline in metres, from calib_cam_to_cam/NNNNNN.txt.

    The last column of a rectified projection matrix is focal length times the position of the
    camera, so that the difference between the two colour cameras is the product.

    Raises:
      DatasetError: the file does not have both matrices, or they make no stereo pair.
    """
    products = {}
    for line in file.read().decode(errors="replace").splitlines():
        name, _, values = line.partition(":")
        if name in ("P_rect_02", "P_rect_03"):
            try:
                products[name] = np.array(values.split(), np.float64).reshape(3, 4)[0, 3]
            except ValueError as error:
                raise DatasetError(
                    f"{file}, key 'depth': expected 12 numbers after {name}, found {values!r}."
                ) from error
    if len(products) < 2:
        raise DatasetError(
            f"{file}, key 'depth': expected P_rect_02 and P_rect_03, found "
            f"{', '.join(products) or 'neither'}."
        )
    result = products["P_rect_02"] - products["P_rect_03"]
    # About 0.53 m times 720 pixels, 384.
    if not 100 < result < 1000:
        raise DatasetError(
            f"{file}, key 'depth': expected focal length times baseline between 100 and 1000 m·px "
            f"from P_rect_02 and P_rect_03, found {result:g}."
        )
    return float(result)


def train_ids(ids: np.ndarray, where: str) -> np.ndarray:
    """uint8 ids 0–33 of Cityscapes ─► uint8 train ids, 255 where the benchmark ignores the class.

    Raises:
      DatasetError: there is another id.
    """
    if ids.max() >= len(_TRAIN_ID_OF_ID):
        raise DatasetError(
            f"{where}: expected ids 0–{len(_TRAIN_ID_OF_ID) - 1} of Cityscapes, found "
            f"{np.unique(ids[ids >= len(_TRAIN_ID_OF_ID)])[:10].tolist()}."
        )
    return _TRAIN_ID_OF_ID[ids]


def instances(raw: np.ndarray) -> np.ndarray:
    """uint16, id of the class · 256 + number of the instance ─► int32, 0 = none.

    The number is 0 where there is none, and counts within a class, so that the whole value is what
    is unique. Buildings and the like have numbers too; only the eight classes are kept whose
    instances count in Cityscapes.
    """
    is_thing = np.isin(raw // 256, _THINGS) & (raw % 256 > 0)
    return np.where(is_thing, raw, 0).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class Convert:
    """Item ─► image, semseg, disparity, depth, instance."""

    def __call__(self, item: Item) -> dict[str, Any]:
        files = item.files
        disparity = disparity_of_raw(_images.read_uint16(files["disparity"], key="disparity"))
        ids = _images.read_ids(files["semseg"], key="semseg")
        semseg = train_ids(ids, f"{files['semseg']}, key 'semseg'")
        raw = _images.read_uint16(files["instance"], key="instance")
        if raw.shape == ids.shape and np.mean(raw // 256 != ids) > 0.01:
            raise DatasetError(
                f"{files['instance']}, key 'instance': expected id · 256 + number with the ids of "
                f"{files['semseg']}, found others in {np.mean(raw // 256 != ids):.0%} of it."
            )
        return {
            "image": _images.read_photo(files["image"]),
            "semseg": semseg,
            "disparity": disparity,
            "depth": depth_of_disparity(disparity, read_camera(files["camera"])),
            "instance": instances(raw),
        }


class Builder(release.ReleaseBuilder):
    """Features `id`, `image`, `semseg` (Cityscapes train ids), `disparity`, `depth`, `instance`.

    `disparity` is in pixels of the left camera's image, of disp_occ_0, which has values behind what
    hides a point from the right camera too; it is sparse, and empty in the upper part. `depth` is
    in metres, from it and each frame's own calibration, and unknown beyond 300 m. Nothing is
    resized; sizes vary around 375×1242, so that batches need a crop or `eval.image_size`.

    The official test frames have no labels. The split is ours: frames 000000–000159 to train and
    000160–000199 to validate, in one piece, because neighbours may be of one drive. The layout of
    the release and of the calibration is known to us from the devkit and from readers, not from the
    whole release.
    """

    name = "kitti"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 – as TFDS declares it
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name="2015", description="160 / 40 frames, split by us."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Get data_scene_flow.zip and data_scene_flow_calib.zip of
    https://www.cvlibs.net/datasets/kitti/eval_scene_flow.php and data_semantics.zip of
    https://www.cvlibs.net/datasets/kitti/eval_semantics.php. The folder that manual_dir names holds
    the three archives; or what they unpack to, together or in folders that are called like them.
    Licence: CC BY-NC-SA 3.0, non-commercial use only.
    """
    description = """
    Driving photographs from Karlsruhe with disparity from LiDAR and fitted models of cars, depth,
    the 19 classes of Cityscapes and instances.
    """
    homepage = "https://www.cvlibs.net/datasets/kitti"

    @property
    def specs(self) -> dict[str, labels.LabelSpec]:
        """What the arrays mean."""
        return {
            "image": labels.image(),
            "semseg": labels.classes(cityscapes.NAMES, cityscapes.PALETTE),
            "disparity": labels.LabelSpec(
                kind="disparity",
                dtype="float32",
                zoom_power=1,
                invalid=0.0,
                unit="px",
                valid_range=(_DISPARITY_STEP, 256.0),
            ),
            "depth": labels.depth((NEAREST, FARTHEST)),
            "instance": labels.instances(cityscapes.INSTANCE_CLASSES),
        }

    @property
    def convert(self) -> Convert:
        """See `Convert`."""
        return Convert()

    def find(self, manual_dir: str | os.PathLike, *, partial: bool = False) -> Items:
        """The frames of each split, by number.

        Raises:
          DatasetError: a frame lacks one of its files; or the number of frames differs from the
            release's and `partial` is false.
        """
        tree = sources.Tree(manual_dir, archives=[f"{top}.zip" for top in _tops()])
        problems = checks.Problems(manual_dir)
        files = {
            key: tree.stems(f"{top}/{pattern}") or tree.stems(pattern)
            for key, (top, pattern) in _FILES.items()
        }
        patterns = {key: f"{top}/{pattern}" for key, (top, pattern) in _FILES.items()}
        problems.add("no files", *(patterns[key] for key in files if not files[key]))
        names = checks.partners(problems, "train and validation", files)
        frames = [Item(name, {key: files[key][name] for key in files}) for name in names]
        first_of_validation = f"{_TRAINING:06d}"
        items = {
            "train": [item for item in frames if item.id < first_of_validation],
            "validation": [item for item in frames if item.id >= first_of_validation],
        }
        if not problems:
            checks.counts(problems, items, _OFFICIAL_COUNTS, partial=partial)
        problems.raise_if_any()
        return items


def _tops() -> list[str]:
    return list(dict.fromkeys(top for top, _ in _FILES.values()))
