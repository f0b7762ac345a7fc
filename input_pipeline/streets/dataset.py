"""What the data set Streets is, whatever it is stored in: configurations, splits, label specs."""

import dataclasses

from input_pipeline import labels
from input_pipeline.datasets import _cityscapes_classes as cityscapes
from input_pipeline.datasets import _voc_classes as voc
from input_pipeline.streets.labels import FARTHEST, NEAREST

SPLITS = ("train", "validation", "test")

# Over the valid pixels of the training split of 128x256.
_DEPTH_MEAN = 23.7938
_DEPTH_STDDEV = 26.7248


@dataclasses.dataclass(frozen=True)
class Scenes:
    """A resolution in pixels, the numbers of examples, and the seed that they are drawn from."""

    height: int = 128
    width: int = 256
    train: int = 2000
    validation: int = 250
    test: int = 250
    seed: int = 0


DEFAULT = Scenes()
CONFIGURATIONS = {
    "128x256": DEFAULT,
    "256x512": Scenes(height=256, width=512),
    "64x128": Scenes(height=64, width=128),
    "96x192_small": Scenes(height=96, width=192, train=400, validation=40, test=40),
    "64x128_tiny": Scenes(height=64, width=128, train=24, validation=8, test=8),
}


def label_specs() -> dict[str, labels.LabelSpec]:
    """What the arrays mean."""
    return {
        "image": labels.image(),
        "semseg": labels.classes(cityscapes.NAMES, cityscapes.PALETTE),
        "depth": labels.depth((NEAREST, FARTHEST), mean=_DEPTH_MEAN, stddev=_DEPTH_STDDEV),
        "instance": labels.instances(cityscapes.INSTANCE_CLASSES),
        "parts": labels.classes(voc.PART_NAMES, voc.PART_PALETTE),
        "normals": labels.normals(),
    }


def example_id(split: str, index: int) -> str:
    """'train_000012'."""
    return f"{split}_{index:06d}"
