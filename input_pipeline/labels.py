"""What one array of an example means, and what a change of geometry does to it.

Transformations, checks and tasks ask the `LabelSpec`; none of them branches on a key's name, so a
data set with a further key needs no change outside its own file.
"""

import dataclasses
from typing import Any

import numpy as np

from input_pipeline.errors import DatasetError


@dataclasses.dataclass(frozen=True)
class LabelSpec:
    """The meaning of one array.

    Attributes:
      kind: what the values are, by which a task knows whether it can use them: 'image', 'classes',
        'depth', 'disparity', 'inverse_depth', 'instances', 'normals', 'offsets', 'edges', or any
        other word that a task asks for.
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
        if not self.kind.isidentifier():
            raise ValueError(f"LabelSpec.kind={self.kind!r}; expected a word, such as 'classes'.")
        if self.interpolation not in ("nearest", "bilinear"):
            raise ValueError(
                f"LabelSpec.interpolation={self.interpolation!r}; expected 'nearest' or 'bilinear'."
            )
        for field in ("class_names", "instance_classes"):
            names = getattr(self, field)
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(
                    f"LabelSpec.{field}: expected names that differ, found {twice} more than once; "
                    "metrics are told apart by them."
                )
        if len(self.palette) not in (0, len(self.class_names)):
            raise ValueError(
                f"LabelSpec.palette has {len(self.palette)} colours for "
                f"{len(self.class_names)} class names."
            )

    @property
    def unknown(self) -> float:
        """The value that says nothing about a pixel."""
        return next(v for v in (self.ignore, self.invalid, self.fill) if v is not None)

    def unlabelled(self, size: tuple[int, int]) -> np.ndarray:
        """The array [H, W] or [H, W, C] of an example of which nothing is known."""
        return np.full(size + (self.channels,) * bool(self.channels), self.unknown, self.dtype)

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


def edges() -> LabelSpec:
    """How much of a boundary a pixel is, from 0 to 1, and −1 = unknown."""
    return LabelSpec(kind="edges", dtype="float32", fill=-1.0, invalid=-1.0, valid_range=(0.0, 1.0))


def saliency() -> LabelSpec:
    """A map of two classes: what stands out, 1, and what does not, 0."""
    return classes(("background", "salient"), ((0, 114, 178), (230, 159, 0)))


def check(array: np.ndarray, spec: LabelSpec, where: str) -> None:
    """Raises unless `array` holds what `spec` says.

    Data sets call it on every array before they store it, so that no wrong value reaches a loss.

    Args:
      array: [H, W] or [H, W, 1] where `spec.channels` is 0, else [H, W, spec.channels].
      spec: what the array means.
      where: for the message: the file and the key, e.g. "val/0001.png, key 'semseg'".

    Raises:
      DatasetError: wrong shape or number type; a class id outside the table; a negative instance
        id; NaN or infinity; depth that is negative, outside `valid_range` or nowhere valid;
        normals that are not of unit length.
    """
    array = np.asarray(array)
    if spec.channels == 0 and array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    layout = "[H, W]" if spec.channels == 0 else f"[H, W, {spec.channels}]"
    if array.ndim != (2 if spec.channels == 0 else 3) or (
        spec.channels and array.shape[2] != spec.channels
    ):
        raise DatasetError(f"{where}: expected an array {layout}, found shape {array.shape}.")
    expected = {"uint8": np.uint8, "int32": np.integer, "float32": np.floating}[spec.dtype]
    if not np.issubdtype(array.dtype, expected):
        raise DatasetError(f"{where}: expected {expected.__name__} values, found {array.dtype}.")

    if spec.kind == "classes":
        _check_ids(array, spec, where)
    elif spec.kind == "instances" and array.min() < 0:
        raise DatasetError(
            f"{where}: expected instance ids from 1 and 0 = none, found {array.min()}."
        )
    elif spec.dtype == "float32":
        _check_values(array, spec, where)


def _check_ids(array: np.ndarray, spec: LabelSpec, where: str) -> None:
    wrong = (array < 0) | (array >= len(spec.class_names))
    if spec.ignore is not None:
        wrong &= array != spec.ignore
    if wrong.any():
        y, x = np.argwhere(wrong)[0]
        ignore = "" if spec.ignore is None else f" or {spec.ignore} (ignore)"
        raise DatasetError(
            f"{where}: expected class ids 0–{len(spec.class_names) - 1}{ignore}, found "
            f"{np.unique(array[wrong])[:10].tolist()} in {wrong.sum()} of {wrong.size} pixels, "
            f"first at row {y}, column {x}."
        )


def _check_values(array: np.ndarray, spec: LabelSpec, where: str) -> None:
    if not np.isfinite(array).all():
        bad = ~np.isfinite(array)
        raise DatasetError(
            f"{where}: expected finite values, found NaN or infinity in {bad.sum()} of {bad.size}, "
            f"first at {np.argwhere(bad)[0].tolist()}; unknown values are stored as {spec.invalid}."
        )
    if spec.invalid is None:
        return
    valid = array != spec.invalid
    if not valid.any():
        raise DatasetError(
            f"{where}: every value is {spec.invalid}, which means unknown; leave the key out of "
            "examples that have no such label."
        )
    if spec.kind == "normals":
        length = np.linalg.norm(array.astype(np.float64), axis=-1)[valid.any(-1)]
        if np.abs(length - 1).max() > 0.01:
            raise DatasetError(
                f"{where}: expected vectors of length 1 (or 0 where unknown), found lengths "
                f"{length.min():.4g} to {length.max():.4g}."
            )
        return
    least, greatest = array[valid].min(), array[valid].max()
    low, high = spec.valid_range or (0.0, np.inf)
    # One part in a thousand is the rounding of half-precision storage.
    if least < min(low * 0.999, low) or greatest > high * 1.001:
        raise DatasetError(
            f"{where}: expected valid values in [{low:g}, {high:g}] {spec.unit}, found "
            f"{least:g} to {greatest:g}."
        )
