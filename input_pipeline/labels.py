"""What one array of an example means, and what a change of geometry does to it.

Transformations, checks and tasks ask the `LabelSpec`; none of them branches on a key's name, so a
data set with a further key needs no change outside its own file.
"""

import dataclasses
from typing import Any

KINDS = ("image", "classes", "depth", "disparity", "inverse_depth", "instances", "normals", "offsets")


@dataclasses.dataclass(frozen=True)
class LabelSpec:
    """The meaning of one array.

    Attributes:
      kind: one of `KINDS`.
      dtype: of the array in a batch: 'uint8' (images), 'int32' (ids) or 'float32'.
      channels: 0 for [H, W], c for [H, W, c].
      interpolation: 'nearest' or 'bilinear' (image and other continuous arrays without holes).
      fill: value of pixels that come from outside the frame, once per array.
      zoom_power: magnifying by s multiplies values by s**zoom_power: −1 for metric depth, +1 for
        disparity and inverse depth, 0 for what zooming leaves alone.
      flip_swap: pairs of class ids that a mirror image exchanges (left and right arm).
      flip_negate: channels whose sign a mirror image changes (normal x; offset dx).
      vector_xy: the channels (x, y) of image-plane vectors, which a rotation of the image turns.
        x points right and y points down.
      class_names: by class id, for kind 'classes'.
      palette: RGB by class id, same length.
      ignore: class id that counts nowhere.
      instance_classes: names of the classes whose pixels may carry an instance id.
      invalid: the value that means "unknown" in a float array (normals: the zero vector).
      unit: of the values, for people: 'm', 'px', ...
      valid_range: least and greatest valid value. Predictions are clamped to it before metrics.
      mean, stddev: over the valid pixels of the training split.
    """

    kind: str
    dtype: str
    channels: int = 0
    interpolation: str = "nearest"
    fill: float = 0
    zoom_power: int = 0
    flip_swap: tuple[tuple[int, int], ...] = ()
    flip_negate: tuple[int, ...] = ()
    vector_xy: tuple[int, int] | None = None
    class_names: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    ignore: int | None = None
    instance_classes: tuple[str, ...] = ()
    invalid: float | None = None
    unit: str = ""
    valid_range: tuple[float, float] | None = None
    mean: float | None = None
    stddev: float | None = None

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"LabelSpec.kind={self.kind!r}; expected one of {KINDS}.")
        if self.interpolation not in ("nearest", "bilinear"):
            raise ValueError(
                f"LabelSpec.interpolation={self.interpolation!r}; expected 'nearest' or 'bilinear'."
            )
        if len(self.palette) not in (0, len(self.class_names)):
            raise ValueError(
                f"LabelSpec.palette has {len(self.palette)} colours for "
                f"{len(self.class_names)} class names."
            )

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able copy, which is how the meaning of a key reaches `mtl_jax`."""
        return dataclasses.asdict(self)


def image() -> LabelSpec:
    """An RGB photograph. Outside the frame it is black, before normalisation (report D)."""
    return LabelSpec(kind="image", dtype="uint8", channels=3, interpolation="bilinear", fill=0)


def classes(
    class_names: tuple[str, ...],
    palette: tuple[tuple[int, int, int], ...],
    *,
    ignore: int = 255,
    flip_swap: tuple[tuple[int, int], ...] = (),
) -> LabelSpec:
    """A map of class ids 0 ... C−1, with `ignore` where no class is known."""
    return LabelSpec(
        kind="classes",
        dtype="int32",
        fill=ignore,
        ignore=ignore,
        class_names=tuple(class_names),
        palette=tuple(tuple(colour) for colour in palette),
        flip_swap=tuple(flip_swap),
    )


def depth(
    valid_range: tuple[float, float],
    *,
    mean: float | None = None,
    stddev: float | None = None,
    zoom: bool = True,
) -> LabelSpec:
    """Metric depth in metres, 0 = unknown. `zoom=False` leaves values alone (Miniscapes)."""
    return LabelSpec(
        kind="depth",
        dtype="float32",
        zoom_power=-1 if zoom else 0,
        invalid=0.0,
        unit="m",
        valid_range=valid_range,
        mean=mean,
        stddev=stddev,
    )


def instances(instance_classes: tuple[str, ...] = ()) -> LabelSpec:
    """Instance ids from 1, 0 = none. Ids are unique within an image."""
    return LabelSpec(kind="instances", dtype="int32", instance_classes=tuple(instance_classes))


def normals() -> LabelSpec:
    """Unit surface normals, x right, y down, z away from the camera; zero vector = unknown."""
    return LabelSpec(
        kind="normals",
        dtype="float32",
        channels=3,
        flip_negate=(0,),
        vector_xy=(0, 1),
        invalid=0.0,
    )
