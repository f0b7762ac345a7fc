"""NYU Depth V2: 1449 indoor photographs with 40 or 13 classes, depth and, from MTAN's, normals.

Silberman, Hoiem, Kohli, Fergus: Indoor Segmentation and Support Inference from RGBD Images (ECCV
2012), from its MATLAB file; or as preprocessed for Liu, Johns, Davison: End-to-End Multi-Task
Learning with Attention (CVPR 2019). Class tables: `_nyu_classes`.
"""

import dataclasses
import functools
import os
from typing import Any

import h5py
import numpy as np

from input_pipeline import _images, checks, labels, release, sources
from input_pipeline.conversion import Item, Items
from input_pipeline.datasets import _matlab, _nyuv2_hub
from input_pipeline.datasets import _mtan_arrays as mtan
from input_pipeline.datasets import _nyu_classes as nyu
from input_pipeline.errors import DatasetError
from input_pipeline.quiet_tensorflow import tfds
from input_pipeline.sources import File

_OFFICIAL_COUNTS = {"train": 795, "validation": 654}
_SPLIT_VARIABLES = {"train": "trainNdxs", "validation": "testNdxs"}
# Metres. The official training split has 0.713 to 9.995; by the release of MTAN's authors holes may
# be mixed into what is beside them, as they resized it.
_DEPTH_RANGE = {"official": (0.5, 10.0), "mtan": (0.01, 10.0), "hub": (0.01, 10.0)}

_RELEASE, _SPLITS, _MAPPING = "nyu_depth_v2_labeled.mat", "splits.mat", "classMapping40.mat"
# What h5py finds in the release, whose axes are those of MATLAB backwards: the name, the shape
# after the frames and the kind of number.
_ARRAYS = {
    "images": ((3, 640, 480), np.uint8),
    "depths": ((640, 480), np.floating),
    "labels": ((640, 480), np.unsignedinteger),
}

_CLASSES = {
    40: (nyu.NAMES_40, nyu.PALETTE_40, nyu.CLASS_40_OF_ID),
    13: (nyu.NAMES_13, nyu.PALETTE_13, nyu.CLASS_13_OF_ID),
}


@dataclasses.dataclass
class Config(tfds.core.BuilderConfig):
    """Where the arrays come from and the set of classes.

    Attributes:
      source: 'official', the MATLAB file, 'mtan', the .npy folders, or 'hub', parquet files.
      num_classes: 40 or 13.
      height, width: of the images in pixels.
    """

    name: str = ""
    source: str = "official"
    num_classes: int = 40
    height: int = 480
    width: int = 640

    def __post_init__(self):
        self.description = (
            f"{self.height}×{self.width}, {self.num_classes} classes, depth"
            f"{'' if self.source == 'official' else ', normals'}."
        )


@dataclasses.dataclass(frozen=True)
class ConvertOfficial:
    """Item, whose `data` is the number of a frame from 0 ─► image, semseg, depth."""

    num_classes: int

    def __call__(self, item: Item) -> dict[str, Any]:
        frame, file = item.data, item.files["release"]
        *_, class_of_id = _CLASSES[self.num_classes]
        ids = _read_frame(file, "labels", frame, key="semseg")
        table = _table_of(item.files["mapping"], item.files["mapping"].stamp())
        where = f"{file}, frame {item.id}"
        if ids.max() >= len(table):
            raise DatasetError(
                f"{where}, key 'semseg': expected labels 0–{len(table) - 1}, found {ids.max()}."
            )
        example = {
            "image": _read_frame(file, "images", frame, key="image").transpose(2, 1, 0),
            "semseg": class_of_id[table[ids.T]],
            "depth": _read_frame(file, "depths", frame, key="depth").T.astype(np.float32),
        }
        # Here, because only here it is known which frame of the file is wrong.
        spec = labels.depth(_DEPTH_RANGE["official"])
        labels.check(example["depth"], spec, f"{where}, key 'depth'")
        return example


@dataclasses.dataclass(frozen=True)
class ConvertMtan:
    """Item ─► image, semseg, depth, normals."""

    def __call__(self, item: Item) -> dict[str, Any]:
        arrays = {key: _images.read_npy(file, key=key) for key, file in item.files.items()}
        where = {key: f"{file}, key {key!r}" for key, file in item.files.items()}
        return {
            "image": mtan.image(arrays["image"], where["image"]),
            "semseg": mtan.classes(arrays["semseg"], 13, where["semseg"]),
            "depth": mtan.depth(arrays["depth"], where["depth"]),
            "normals": mtan.normals(arrays["normals"], where["normals"]),
        }


class Builder(release.ReleaseBuilder):
    """Features `id`, `image`, `semseg`, `depth` in metres and, if not `official`, `normals`.

    `depth` of the official file is its `depths`, in which the holes of the sensor are filled in;
    what papers evaluate on. Photographs have a white border of a few pixels, which has depth all
    the same; some papers cut rows 45–470 and columns 41–600 out, this does not. Nothing is
    resized. `mtan_288x384` is the authors' release as it is: of its labels the order of the 13
    classes, and of its normals the directions of the axes, are inferred.

    `hub_288x384` has the same authors' arrays and a distractor of noise, which is left out; that
    row i is their i.npy is not known, so its ids are numbers of rows.

    The test split is called `validation`, as there is no other one.
    """

    name = "nyuv2"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 – as TFDS declares it
    BUILDER_CONFIGS = [  # noqa: RUF012
        Config(name="40classes"),
        Config(name="13classes", num_classes=13),
        Config(name="mtan_288x384", source="mtan", num_classes=13, height=288, width=384),
        Config(name="hub_288x384", source="hub", num_classes=13, height=288, width=384),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    40classes, 13classes: the folder that manual_dir names holds nyu_depth_v2_labeled.mat (2.8 GB)
    and splits.mat of https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html, and
    classMapping40.mat of the code of Gupta, Arbeláez, Malik (CVPR 2013).
    mtan_288x384: it holds train/ and val/ of the preprocessed NYUv2 of
    https://github.com/lorenmt/mtan, each with image/, label/, depth/ and normal/.
    hub_288x384: it holds the parquet files of the data set tanganke/nyuv2 of the Hugging Face hub;
    hf download tanganke/nyuv2 --repo-type dataset --include 'data/*' --local-dir <manual_dir>
    Licence: none that we know of; the data set's page asks to cite the paper.
    """
    description = """
    1449 photographs of indoor scenes from a Kinect, 795 to train and 654 to test, with semantic
    classes, depth and, in one version, surface normals.
    """
    homepage = "https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html"

    @property
    def specs(self) -> dict[str, labels.LabelSpec]:
        """What the arrays mean."""
        class_names, palette, _ = _CLASSES[self.builder_config.num_classes]
        specs = {
            "image": labels.image(),
            "semseg": labels.classes(class_names, palette),
            "depth": labels.depth(_DEPTH_RANGE[self.builder_config.source]),
        }
        if self.builder_config.source != "official":
            specs["normals"] = labels.normals()
        return specs

    @property
    def size(self) -> tuple[int, int]:
        """Of the configuration."""
        return self.builder_config.height, self.builder_config.width

    @property
    def convert(self) -> ConvertOfficial | ConvertMtan | _nyuv2_hub.Convert:
        """See the classes."""
        if self.builder_config.source == "hub":
            return _nyuv2_hub.Convert(self.size)
        if self.builder_config.source == "mtan":
            return ConvertMtan()
        return ConvertOfficial(self.builder_config.num_classes)

    def find(self, manual_dir: str | os.PathLike, *, partial: bool = False) -> Items:
        """The frames of each split, in the order of their numbers.

        Raises:
          DatasetError: a file is missing or not what it should be; or the number of examples
            differs from the release's and `partial` is false.
        """
        tree = sources.Tree(manual_dir)
        problems = checks.Problems(manual_dir)
        if self.builder_config.source == "mtan":
            folders = {"image": "image", "semseg": "label", "depth": "depth", "normals": "normal"}
            items = {
                split: mtan.items(tree, problems, split, folders) for split in _OFFICIAL_COUNTS
            }
        elif self.builder_config.source == "hub":
            items = _nyuv2_hub.find(tree, problems, partial=partial)
        else:
            items = _official_items(tree, problems)
        if not problems:
            checks.counts(problems, items, _OFFICIAL_COUNTS, partial=partial)
        problems.raise_if_any()
        return items


def _official_items(tree: sources.Tree, problems: checks.Problems) -> Items:
    found = {name: tree.file(name) for name in (_RELEASE, _SPLITS, _MAPPING)}
    problems.add("without the file", *(name for name, file in found.items() if file is None))
    if problems:
        return {}
    files = {name: file for name, file in found.items() if file is not None}
    num_frames = _check_release(files[_RELEASE])
    _table_of(files[_MAPPING], files[_MAPPING].stamp())
    numbers = {
        split: _matlab.read(files[_SPLITS], key="id", variable=variable).ravel().astype(np.int64)
        for split, variable in _SPLIT_VARIABLES.items()
    }
    together = np.concatenate(list(numbers.values()))
    wrong = np.unique(together[(together < 1) | (together > num_frames)])
    problems.add(f"{_SPLITS}: numbers of frames outside 1–{num_frames}", *map(str, wrong))
    twice, times = np.unique(together, return_counts=True)
    problems.add(f"{_SPLITS}: frames that are named twice", *map(str, twice[times > 1]))
    of_frame = {"release": files[_RELEASE], "mapping": files[_MAPPING]}
    # MATLAB counts from 1, and so do the ids: frame 0001 is the first.
    return {
        split: [Item(f"{number:04d}", of_frame, int(number) - 1) for number in np.sort(of_split)]
        for split, of_split in numbers.items()
    }


def _check_release(file: File) -> int:
    """Looks at what the MATLAB file holds, without reading it; returns the number of frames."""
    with _opening(file) as stored:
        lengths = {}
        for name, (shape, number) in _ARRAYS.items():
            if name not in stored:
                raise DatasetError(f"{file}: expected {sorted(_ARRAYS)}, found {sorted(stored)}.")
            found = _array(stored, name)
            if found is None:
                raise DatasetError(
                    f"{file}, {name!r}: expected an array in this file, found a group, or a link "
                    "to another file. Download it again."
                )
            if found.shape[1:] != shape or not np.issubdtype(found.dtype, number):
                raise DatasetError(
                    f"{file}, {name!r}: expected {number.__name__} values of shape "
                    f"[frames, {str(shape)[1:-1]}], found {found.dtype} of shape "
                    f"{list(found.shape)}."
                )
            lengths[name] = len(found)
    if len(set(lengths.values())) > 1:
        raise DatasetError(f"{file}: expected one number of frames, found {lengths}.")
    return lengths["images"]


def _array(stored: h5py.File, name: str) -> h5py.Dataset | None:
    """An array whose numbers are in this file: HDF5 can also point to any other of the machine."""
    link = stored.get(name, getlink=True)
    found = stored[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
        return None
    return found


def _read_frame(file: File, name: str, frame: int, *, key: str) -> np.ndarray:
    try:
        return _stored(file.path, file.stamp())[name][frame]
    except (OSError, KeyError) as error:
        raise DatasetError(
            f"{file}, frame {frame + 1:04d}, key {key!r}: the frame cannot be read "
            f"({type(error).__name__}: {error}). Copy the file again from the release."
        ) from error


@functools.lru_cache(maxsize=1)
def _stored(path: str, stamp: tuple[int, int]) -> h5py.File:
    """The release, which stays open: there are 1449 frames to read from it."""
    del stamp  # A file that was replaced is opened again.
    return _opening(File(path))


def _opening(file: File) -> h5py.File:
    try:
        # A lock, which some network file systems refuse, is for those who write.
        return h5py.File(file.path, "r", locking=False)
    except OSError as error:
        raise DatasetError(
            f"{file}: expected a MATLAB 7.3 (HDF5) file, but it does not open ({error}). "
            "Download it again."
        ) from error


@functools.lru_cache(maxsize=1)
def _table_of(file: File, stamp: tuple[int, int]) -> np.ndarray:
    """uint8 [895]: the id among the 40 classes, 0 for void, of each label of the release."""
    del stamp  # A file that was replaced is read again.
    ids = _matlab.read(file, key="semseg", variable="mapClass").ravel()
    if ids.shape != (nyu.NUM_FINE,) or not np.isin(ids, np.arange(41)).all():
        raise DatasetError(
            f"{file}, 'mapClass': expected {nyu.NUM_FINE} ids 0–40, found {ids.size} from "
            f"{ids.min(initial=0)} to {ids.max(initial=0)}."
        )
    return np.concatenate([[0], ids]).astype(np.uint8)
