"""Random geometry and colour, drawn once per example and applied to each array by its LabelSpec.

The steps are those of report D: scale, crop with centred padding, flip, rotate. Two modes make the
same draws:

* 'composed' multiplies the steps into one map from output to input pixels, and interpolates once;
* 'stepwise' takes one step after the other, with the filters that report D used.

They agree up to interpolation (Pillow averages where it shrinks, and turns images bicubically) and
up to the corners that a rotation uncovers: stepwise leaves them to the fill, composed shows the
photograph there as far as it reaches. Without scale and rotation both copy pixels, unchanged.
The further modes are `recipes.py`'s, whose order is part of a published protocol.

The one map is applied by OpenCV (`_warp.py`), the steps by Pillow, as report D did; both let other
threads run meanwhile.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image

from input_pipeline import _philox, _values, recipes
from input_pipeline.colours import recolour
from input_pipeline.errors import OptionError
from input_pipeline.labels import LabelSpec

MODES = ("composed", "stepwise", *recipes.RECIPES)
FRACTION_BITS = 16  # of coordinates in fixed point

_NEAREST = Image.Resampling.NEAREST
_BILINEAR = Image.Resampling.BILINEAR
_BICUBIC = Image.Resampling.BICUBIC


# Fields that only some modes look at.
_OF_RECIPES = {
    "scales": ("survey",),
    "balanced_by": ("transformer",),
    "empty_is_unlabelled": ("transformer", "survey"),
}


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Which changes are drawn, and from which ranges. The default changes nothing.

    Attributes:
      crop: (height, width) of the window, uniformly placed; what is smaller is padded, centred.
        None keeps the size of the input.
      scale: (least, greatest) magnification, uniform; > 1 magnifies. Report D: (0.5, 2).
      flip: probability of a horizontal mirror image.
      rotate: largest angle in degrees; the angle is uniform in [−rotate, rotate]. Report D: 10.
      brightness: the image is multiplied by a factor from [1 − brightness, 1 + brightness].
      contrast: so are differences from the mean grey.
      saturation: so are differences from each pixel's grey.
      hue: largest turn of the chroma, in turns of the colour circle.
      scales: zooms to choose from, in place of the range; 'survey' alone.
      balanced_by: a class map of which no class may fill most of a crop; 'transformer' alone.
      empty_is_unlabelled: class maps that are unlabelled where only class 0 is left; both of them.
      mode: one of `MODES`.
    """

    crop: tuple[int, int] | None = None
    scale: tuple[float, float] | None = None
    flip: float = 0.0
    rotate: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    scales: tuple[float, ...] = ()
    balanced_by: str = ""
    empty_is_unlabelled: tuple[str, ...] = ()
    mode: str = "composed"

    def __post_init__(self):
        def require(condition, field, expected):
            if not condition:
                raise OptionError(
                    f"Augmentation.{field}={getattr(self, field)!r}; expected {expected}."
                )

        require(self.mode in MODES, "mode", f"one of {MODES}")
        require(
            self.crop is None or (len(self.crop) == 2 and min(self.crop) > 0),
            "crop",
            "None or a positive (height, width)",
        )
        require(
            self.scale is None or (len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[1]),
            "scale",
            "None or 0 < least <= greatest",
        )
        require(0 <= self.flip <= 1, "flip", "a probability")
        require(0 <= self.rotate <= 180, "rotate", "degrees in [0, 180]")
        for field in ("brightness", "contrast", "saturation"):
            require(0 <= getattr(self, field) <= 1, field, "a number in [0, 1]")
        require(0 <= self.hue <= 0.5, "hue", "turns in [0, 0.5]")
        require(all(s > 0 for s in self.scales), "scales", "positive zooms")
        for field, modes in _OF_RECIPES.items():
            require(
                not getattr(self, field) or self.mode in modes,
                field,
                f"nothing unless mode is {' or '.join(modes)}",
            )

    @property
    def warps(self) -> bool:
        """Whether pixels have to be interpolated."""
        return self.scale is not None or self.rotate > 0

    @property
    def recolours(self) -> bool:
        """Whether the image's colours change."""
        return max(self.brightness, self.contrast, self.saturation, self.hue) > 0


class Geometry(NamedTuple):
    """What was drawn for one example.

    Attributes:
      source: height and width of the example.
      scaled: height and width after scaling, rounded down as in report D.
      offset: top and left of the window in the scaled image; negative where it is padded.
      size: height and width of the window.
      flip: mirrored after the crop.
      angle: in radians, about the centre of the window, after the flip; positive turns
        counter-clockwise as one sees it.
    """

    source: tuple[int, int]
    scaled: tuple[int, int]
    offset: tuple[int, int]
    size: tuple[int, int]
    flip: bool
    angle: float

    @property
    def zoom(self) -> float:
        """The magnification that rounding left: the root of the ratio of areas."""
        return math.sqrt(math.prod(self.scaled) / math.prod(self.source))


def augment(
    example: Mapping[str, np.ndarray],
    specs: Mapping[str, LabelSpec],
    augmentation: Augmentation,
    seed: tuple[int, int],
) -> dict[str, np.ndarray]:
    """Applies one random change to all arrays of an example.

    Args:
      example: arrays [H, W] or [H, W, C] of the dtypes of their specs, all of one size.
      specs: of every key of `example`.
      augmentation: what to draw.
      seed: two numbers that are not negative. The result is a pure function of them and of the
        example, on every machine and for every version of NumPy.

    Returns:
      Arrays by key, of size `augmentation.crop`, or of the input's size where that is None.
    """
    if augmentation.mode in recipes.RECIPES:
        uniform = _uniform(seed, recipes.NUMBERS)
        return recipes.RECIPES[augmentation.mode](example, specs, augmentation, uniform)
    height_width = next(iter(example.values())).shape[:2]
    geometry, colours = draw(augmentation, seed, height_width)
    move = _mover(augmentation, geometry)
    result = {}
    for key, value in example.items():
        spec = specs[key]
        value = _adapt_values(move(value, spec), spec, geometry)
        if spec.kind == "image" and augmentation.recolours:
            inside = move(np.ones(height_width, np.uint8), _INSIDE) > 0
            value = recolour(value, augmentation, colours, inside)
        result[key] = value
    return result


def draw(
    augmentation: Augmentation, seed: tuple[int, int], height_width: tuple[int, int]
) -> tuple[Geometry, np.ndarray]:
    """What is drawn for one example: its geometry, and four numbers from [0, 1) for its colours."""
    uniform = _uniform(seed, 9)
    return draw_geometry(augmentation, uniform[:5], height_width), uniform[5:]


def _uniform(seed: tuple[int, int], count: int) -> np.ndarray:
    """Numbers from [0, 1), float64 [count]."""
    # A counter of its own, because the order of examples comes from keys of the same form.
    raw = _philox.raw(seed, 1 << 192, count)
    return np.array([number >> 11 for number in raw]) * 2.0**-53


def draw_geometry(
    augmentation: Augmentation, uniform: np.ndarray, height_width: tuple[int, int]
) -> Geometry:
    """Turns five numbers from [0, 1) into the geometry of one example.

    Args:
      augmentation: the ranges.
      uniform: for scale, top, left, flip and angle.
      height_width: size of the example.
    """
    low, high = augmentation.scale or (1, 1)
    scale = low + (high - low) * uniform[0]
    scaled = tuple(max(int(scale * n), 1) for n in height_width)
    size = tuple(augmentation.crop or height_width)
    offset = tuple(
        int(u * (n - m + 1)) if n >= m else -((m - n) // 2)
        for u, n, m in zip(uniform[1:3], scaled, size)
    )
    flip = bool(uniform[3] < augmentation.flip)
    angle = math.radians(augmentation.rotate) * (2 * float(uniform[4]) - 1)
    return Geometry(tuple(height_width), scaled, offset, size, flip, angle)


def window(
    value: np.ndarray, offset: tuple[int, int], size: tuple[int, int], fill: float
) -> np.ndarray:
    """The window of `size` at `offset` (top, left); what lies outside the array is `fill`.

    Args:
      value: [H, W] or [H, W, C].
      offset: may be negative.
      size: height and width.
      fill: value outside.

    Returns:
      A view where the window lies inside the array, else a new array.
    """
    begin = [min(max(o, 0), n) for o, n in zip(offset, value.shape)]
    end = [min(max(o + m, 0), n) for o, m, n in zip(offset, size, value.shape)]
    part = value[begin[0] : end[0], begin[1] : end[1]]
    if part.shape[:2] == tuple(size):
        return part
    result = np.full((*size, *value.shape[2:]), fill, value.dtype)
    top, left = (b - o for b, o in zip(begin, offset))
    result[top : top + part.shape[0], left : left + part.shape[1]] = part
    return result


def output_to_input(geometry: Geometry) -> np.ndarray:
    """The steps composed: a matrix [2, 3] from output (x, y, 1) to input (x, y).

    Coordinates are continuous: pixel (row i, column j) has its centre at x = j + ½, y = i + ½.
    """
    cos, sin = math.cos(geometry.angle), math.sin(geometry.angle)
    mirror = -1.0 if geometry.flip else 1.0
    # Undone in turn: the rotation and the flip about the centre of the window, crop, scale. Written
    # out, because products of NumPy's matrices take ten times as long and may round otherwise on
    # another machine.
    y_factor, x_factor = (a / b for a, b in zip(geometry.source, geometry.scaled))
    cy, cx = (side / 2 for side in geometry.size)
    xx, xy = x_factor * mirror * cos, -x_factor * mirror * sin
    yx, yy = y_factor * sin, y_factor * cos
    top, left = geometry.offset
    x_shift = x_factor * (cx + left) - (xx * cx + xy * cy)
    y_shift = y_factor * (cy + top) - (yx * cx + yy * cy)
    return np.array([[xx, xy, x_shift], [yx, yy, y_shift]])


def fixed_point(
    matrix: np.ndarray, size: tuple[int, int]
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The map's coordinates, in units of 2⁻¹⁶ of a pixel, as sums of a row's and a column's part.

    Args:
      matrix: [2, 3], from output (x, y, 1) to input (x, y).
      size: height and width of the output.

    Returns:
      For x and y, int64 [h]; for x and y, int64 [w]. The point that pixel (i, j) shows has
      x = rows[0][i] + columns[0][j] and y = rows[1][i] + columns[1][j].
    """
    height, width = size
    y, x = np.arange(height) + 0.5, np.arange(width) + 0.5
    scaled = np.asarray(matrix, np.float64) * 2**FRACTION_BITS
    rows, columns = (
        tuple(np.rint(part).astype(np.int64) for part in parts)
        for parts in ([row[1] * y + row[2] for row in scaled], [row[0] * x for row in scaled])
    )
    return rows, columns


# Which pixels of the output show the input: where ones arrive.
_INSIDE = LabelSpec(kind="image", dtype="uint8")


# Takes an array and its spec.
_Move = Callable[[np.ndarray, LabelSpec], np.ndarray]


def _mover(augmentation: Augmentation, geometry: Geometry) -> _Move:
    """What moves the pixels of any array of an example."""
    if not augmentation.warps:

        def copy(value, spec):
            value = window(value, geometry.offset, geometry.size, spec.fill)
            return value[:, ::-1] if geometry.flip else value

        return copy
    if augmentation.mode == "stepwise":

        def move(value, spec):
            return _move_stepwise(value, spec, geometry)

    else:
        from input_pipeline._warp import Warp  # OpenCV, where it is needed

        warp = Warp(output_to_input(geometry), geometry.source, geometry.size)

        def move(value, spec):
            gather = warp.bilinear if spec.interpolation == "bilinear" else warp.nearest
            return gather(value, spec.fill)

    def with_holes(value, spec):
        if spec.interpolation == "bilinear" and spec.invalid is not None:
            return _with_holes(move, value, spec)
        return move(value, spec)

    return with_holes


def _with_holes(move: _Move, value: np.ndarray, spec: LabelSpec) -> np.ndarray:
    """Interpolates among valid values only; the result is valid where they have half the weight."""
    planes = value if value.ndim == 3 else value[..., None]
    valid = (planes != spec.invalid).any(-1, keepdims=True)
    stacked = np.concatenate([np.where(valid, planes, 0), valid], axis=-1, dtype=np.float32)
    moved = move(stacked, dataclasses.replace(spec, fill=0))
    moved, weight = moved[..., :-1], moved[..., -1:]
    result = np.where(weight >= 0.5, moved / np.maximum(weight, 0.5), np.float32(spec.invalid))
    return result if value.ndim == 3 else result[..., 0]


def _move_stepwise(value: np.ndarray, spec: LabelSpec, geometry: Geometry) -> np.ndarray:
    smooth = spec.interpolation == "bilinear"

    def steps(plane):
        image = Image.fromarray(plane)
        if geometry.scaled != geometry.source:
            image = image.resize(geometry.scaled[::-1], _BILINEAR if smooth else _NEAREST)
        fill = _fill(spec, image)
        cropped = Image.new(image.mode, geometry.size[::-1], fill)
        cropped.paste(image, (-geometry.offset[1], -geometry.offset[0]))
        if geometry.flip:
            cropped = cropped.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        degrees = math.degrees(geometry.angle)
        turned = cropped.rotate(degrees, _BICUBIC if smooth else _NEAREST, fillcolor=fill)
        return np.asarray(turned)

    return _each_plane(steps, value, geometry.size)


def _fill(spec: LabelSpec, image: Image.Image) -> int | float:
    return float(spec.fill) if image.mode == "F" else int(spec.fill)


def _each_plane(
    change: Callable[[np.ndarray], np.ndarray], value: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    if value.ndim == 2:
        return change(value)
    result = np.empty((*size, value.shape[2]), value.dtype)
    for channel in range(value.shape[2]):
        result[..., channel] = change(np.ascontiguousarray(value[..., channel]))
    return result


def _adapt_values(value: np.ndarray, spec: LabelSpec, geometry: Geometry) -> np.ndarray:
    """Changes what the pixels say, after they were moved."""
    if geometry.scaled != geometry.source:
        value = _values.zoomed(value, spec, geometry.zoom)
    if geometry.flip:
        value = _values.mirrored(value, spec)
    value = _values.turned(value, spec, geometry.angle)
    if spec.kind == "normals" and spec.interpolation == "bilinear":
        value = _values.of_unit_length(value)
    return value
