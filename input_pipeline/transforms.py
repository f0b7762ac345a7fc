"""Random geometry and colour, drawn once per example and applied to each array by its LabelSpec.

The steps are those of report D: scale, crop with centred padding, flip, rotate. Two modes make the
same draws:

* 'composed' multiplies the steps into one map from output to input pixels, and interpolates once;
* 'stepwise' takes one step after the other with Pillow's filters, as report D did.

They agree up to interpolation (Pillow averages where it shrinks, and turns images bicubically) and
up to the corners that a rotation uncovers: stepwise leaves them to the fill, composed shows the
photograph there as far as it reaches. Without scale and rotation both copy pixels, unchanged.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from input_pipeline.labels import LabelSpec

MODES = ("composed", "stepwise")


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
      hue: largest shift of the hue, in turns of the colour circle.
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
    mode: str = "composed"

    def __post_init__(self):
        def require(condition, field, expected):
            if not condition:
                raise ValueError(
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

    @property
    def warps(self) -> bool:
        """Whether pixels have to be interpolated."""
        return self.scale is not None or self.rotate > 0

    @property
    def recolours(self) -> bool:
        """Whether the image's colours change."""
        return max(self.brightness, self.contrast, self.saturation, self.hue) > 0


class Geometry(NamedTuple):
    """The draws for one example, as tensors.

    Attributes:
      scaled: int32 [2], height and width after scaling.
      offset: int32 [2], top and left of the window in the scaled image; negative: it is padded.
      size: int32 [2], height and width of the window.
      flip: bool, after the crop.
      angle: float32, radians, about the centre of the window, after the flip; positive turns
        counter-clockwise as one sees it.
      zoom: float32, magnification that the rounding of `scaled` leaves: √(area ratio).
    """

    scaled: tf.Tensor
    offset: tf.Tensor
    size: tf.Tensor
    flip: tf.Tensor
    angle: tf.Tensor
    zoom: tf.Tensor


def augment(
    example: Mapping[str, tf.Tensor],
    specs: Mapping[str, LabelSpec],
    augmentation: Augmentation,
    seed: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Applies one random change to all arrays of an example.

    Args:
      example: arrays [H, W] or [H, W, C] of the dtypes of their specs, all of one size.
      specs: of every key of `example`; exactly one is of kind 'image'.
      augmentation: what to draw.
      seed: int64 [2]. The result is a pure function of it and of the example.

    Returns:
      Arrays by key, of size `augmentation.crop`, or of the input's size where that is None.
    """
    keys = [key for key in specs if key in example]
    height_width = tf.shape(example[keys[0]])[:2]
    draws = tf.random.stateless_uniform([9], seed, alg="philox")
    geometry = draw_geometry(augmentation, draws[:5], height_width)
    move, inside = _mover(augmentation, geometry, height_width)

    result = {}
    for key in keys:
        spec = specs[key]
        value = adapt_values(move(example[key], spec), spec, augmentation, geometry)
        if spec.kind == "image" and augmentation.recolours:
            value = tf.where(
                inside()[..., None],
                recolour(value, augmentation, draws[5:], inside()),
                tf.cast(spec.fill, value.dtype),
            )
        result[key] = value
    return result


def draw_geometry(
    augmentation: Augmentation, uniform: tf.Tensor, height_width: tf.Tensor
) -> Geometry:
    """Turns five numbers from U[0, 1) into the geometry of one example.

    Args:
      augmentation: the ranges.
      uniform: float32 [5] for scale, top, left, flip and angle.
      height_width: int32 [2], size of the example.
    """
    low, high = augmentation.scale or (1.0, 1.0)
    scale = low + (high - low) * uniform[0]
    # Rounded down, as report D does.
    scaled = tf.maximum(tf.cast(scale * tf.cast(height_width, tf.float32), tf.int32), 1)
    if augmentation.scale is None:
        scaled = height_width
    size = height_width if augmentation.crop is None else tf.constant(augmentation.crop, tf.int32)
    room = scaled - size
    position = tf.cast(uniform[1:3] * tf.cast(room + 1, tf.float32), tf.int32)
    return Geometry(
        scaled=scaled,
        offset=tf.where(room >= 0, tf.minimum(position, room), -(-room // 2)),
        size=size,
        flip=uniform[3] < augmentation.flip,
        angle=math.radians(augmentation.rotate) * (2 * uniform[4] - 1),
        zoom=tf.sqrt(
            tf.cast(tf.reduce_prod(scaled), tf.float32)
            / tf.cast(tf.reduce_prod(height_width), tf.float32)
        ),
    )


def window(value: tf.Tensor, offset: tf.Tensor, size: tf.Tensor, fill: float) -> tf.Tensor:
    """Copies the window of `size` at `offset` (top, left); what lies outside the array is `fill`.

    Args:
      value: [H, W] or [H, W, C].
      offset: int32 [2], may be negative.
      size: int32 [2].
      fill: value outside.
    """
    shape = tf.shape(value)[:2]
    begin = tf.clip_by_value(offset, 0, shape)
    end = tf.clip_by_value(offset + size, 0, shape)
    part = value[begin[0] : end[0], begin[1] : end[1]]
    before = tf.minimum(begin - offset, size)
    padding = tf.stack([before, size - before - (end - begin)], axis=1)
    if value.shape.rank == 3:
        padding = tf.concat([padding, [[0, 0]]], axis=0)
    return tf.pad(part, padding, constant_values=tf.cast(fill, value.dtype))


def _mover(
    augmentation: Augmentation, geometry: Geometry, height_width: tf.Tensor
) -> tuple[Callable[[tf.Tensor, LabelSpec], tf.Tensor], Callable[[], tf.Tensor]]:
    """Two functions: one moves an array, the other says which output pixels show the input."""
    if not augmentation.warps:
        move = functools.partial(_copy, augmentation, geometry)
    elif augmentation.mode == "stepwise":
        move = functools.partial(_move_stepwise, geometry)
    else:
        move = functools.partial(_move_composed, geometry, height_width)
    static_size = augmentation.crop or (None, None)

    def sized(value, spec):
        moved = move(value, spec)
        moved.set_shape(tf.TensorShape(static_size).concatenate(value.shape[2:]))
        return moved

    ones = LabelSpec(kind="image", dtype="uint8")
    return sized, functools.cache(
        lambda: tf.cast(sized(tf.ones(height_width, tf.uint8), ones), tf.bool)
    )


def _copy(
    augmentation: Augmentation, geometry: Geometry, value: tf.Tensor, spec: LabelSpec
) -> tf.Tensor:
    if augmentation.crop is not None:
        value = window(value, geometry.offset, geometry.size, spec.fill)
    if augmentation.flip > 0:
        value = tf.cond(geometry.flip, lambda: tf.reverse(value, [1]), lambda: value)
    return value


# One warp ---------------------------------------------------------------------------------------


def output_to_input(geometry: Geometry, height_width: tf.Tensor) -> tf.Tensor:
    """The map from output to input pixels: float32 [8], rows of a 3×3 matrix without its last 1.

    Pixel (row i, column j) has its centre at (j + ½, i + ½); the map takes and gives indices.
    """
    size = tf.cast(geometry.size, tf.float32)
    offset = tf.cast(geometry.offset, tf.float32)
    factor = tf.cast(height_width, tf.float32) / tf.cast(geometry.scaled, tf.float32)
    cos, sin = tf.cos(geometry.angle), tf.sin(geometry.angle)
    mirror = tf.where(geometry.flip, -1.0, 1.0)
    # Undone in turn, about the centre of the window: rotation, flip; then crop and scale.
    x_row = factor[1] * mirror * tf.stack([cos, -sin])
    y_row = factor[0] * tf.stack([sin, cos])
    centre = size[::-1] / 2
    x_shift = factor[1] * (centre[0] + offset[1]) + tf.tensordot(x_row, 0.5 - centre, 1) - 0.5
    y_shift = factor[0] * (centre[1] + offset[0]) + tf.tensordot(y_row, 0.5 - centre, 1) - 0.5
    return tf.concat([x_row, [x_shift], y_row, [y_shift], [0.0, 0.0]], axis=0)


def _move_composed(
    geometry: Geometry, height_width: tf.Tensor, value: tf.Tensor, spec: LabelSpec
) -> tf.Tensor:
    transform = output_to_input(geometry, height_width)

    def warp(array, interpolation, fill, edge="CONSTANT"):
        shape = tf.shape(array)
        planes = array[None] if array.shape.rank == 3 else array[None, ..., None]
        warped = tf.raw_ops.ImageProjectiveTransformV3(
            images=planes,
            transforms=transform[None],
            output_shape=geometry.size,
            fill_value=float(fill),
            interpolation=interpolation,
            fill_mode=edge,
        )[0]
        return tf.reshape(warped, tf.concat([geometry.size, shape[2:]], axis=0))

    if spec.interpolation == "nearest":
        return warp(value, "NEAREST", spec.fill)
    if spec.invalid is not None:
        return _with_holes(lambda array: warp(array, "BILINEAR", 0.0), value, spec)
    # Beyond the frame the last pixel goes on, so that fill does not bleed into the image; then
    # what lies outside becomes fill.
    warped = warp(tf.cast(value, tf.float32), "BILINEAR", 0.0, edge="NEAREST")
    inside = _inside(transform, geometry.size, height_width)
    if value.shape.rank == 3:
        inside = inside[..., None]
    return _to_dtype(tf.where(inside, warped, float(spec.fill)), value.dtype)


def _inside(transform: tf.Tensor, size: tf.Tensor, height_width: tf.Tensor) -> tf.Tensor:
    """Which output pixels have their centre in the input: bool [h, w]."""
    x = tf.cast(tf.range(size[1]), tf.float32)[None, :]
    y = tf.cast(tf.range(size[0]), tf.float32)[:, None]
    limit = tf.cast(height_width, tf.float32) - 0.5
    column = transform[0] * x + transform[1] * y + transform[2]
    row = transform[3] * x + transform[4] * y + transform[5]
    return (column >= -0.5) & (column < limit[1]) & (row >= -0.5) & (row < limit[0])


def _with_holes(
    move: Callable[[tf.Tensor], tf.Tensor], value: tf.Tensor, spec: LabelSpec
) -> tf.Tensor:
    """Interpolates among valid values only; the result is valid where they have half the weight."""
    planes = value if value.shape.rank == 3 else value[..., None]
    valid = tf.reduce_any(planes != spec.invalid, axis=-1, keepdims=True)
    weight = tf.cast(valid, tf.float32)
    moved = move(tf.concat([tf.where(valid, planes, 0.0), weight], axis=-1))
    moved, weight = moved[..., :-1], moved[..., -1:]
    result = tf.where(weight >= 0.5, moved / tf.maximum(weight, 0.5), spec.invalid)
    return result if value.shape.rank == 3 else result[..., 0]


def _to_dtype(value: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    return value if dtype == tf.float32 else tf.cast(tf.round(value), dtype)


# One step after the other -----------------------------------------------------------------------


def _move_stepwise(geometry: Geometry, value: tf.Tensor, spec: LabelSpec) -> tf.Tensor:
    def move(array):
        steps = functools.partial(_steps_of_array, spec=spec)
        moved = tf.numpy_function(steps, [array, *geometry[:-1]], array.dtype, stateful=False)
        moved.set_shape(tf.TensorShape([None, None]).concatenate(array.shape[2:]))
        return moved

    if spec.interpolation == "bilinear" and spec.invalid is not None:
        return _with_holes(move, value, dataclasses.replace(spec, fill=0.0))
    return move(value)


def _steps_of_array(array, scaled, offset, size, flip, angle, *, spec: LabelSpec) -> np.ndarray:
    steps = functools.partial(
        _steps_of_plane, scaled=scaled, offset=offset, size=size, flip=flip, angle=angle, spec=spec
    )
    if array.ndim == 2:
        return steps(array)
    return np.stack([steps(array[..., c]) for c in range(array.shape[2])], axis=-1)


def _steps_of_plane(plane, *, scaled, offset, size, flip, angle, spec: LabelSpec) -> np.ndarray:
    """Scale, crop, flip, rotate (report D): [H, W] of uint8, int32 or float32."""
    smooth = spec.interpolation == "bilinear"
    dtype = plane.dtype
    fill = float(spec.fill) if dtype == np.float32 else int(spec.fill)
    image = Image.fromarray(plane)
    height, width = (int(n) for n in scaled)
    if image.size != (width, height):
        resample = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
        image = image.resize((width, height), resample)
    top, left = (int(n) for n in offset)
    cropped = Image.new(image.mode, (int(size[1]), int(size[0])), fill)
    cropped.paste(image, (-left, -top))
    if flip:
        cropped = cropped.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if angle:
        resample = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
        cropped = cropped.rotate(math.degrees(angle), resample, fillcolor=fill)
    return np.array(cropped, dtype)


# Values -----------------------------------------------------------------------------------------


def adapt_values(
    value: tf.Tensor, spec: LabelSpec, augmentation: Augmentation, geometry: Geometry
) -> tf.Tensor:
    """Changes what the pixels say, after they were moved.

    Args:
      value: [h, w] or [h, w, C].
      spec: says what zoom, flip and rotation do to the values.
      augmentation: what can have happened, so that nothing else is computed.
      geometry: what happened.
    """
    if augmentation.scale is not None and spec.zoom_power:
        zoomed = value * geometry.zoom**spec.zoom_power
        value = zoomed if not spec.invalid else tf.where(value == spec.invalid, value, zoomed)
    if augmentation.flip > 0 and spec.flip_swap:
        table = np.arange(max(len(spec.class_names), (spec.ignore or 0) + 1), dtype=np.int32)
        for left, right in spec.flip_swap:
            table[[left, right]] = right, left
        value = tf.cond(geometry.flip, lambda: tf.gather(table, value), lambda: value)
    if augmentation.flip > 0 and spec.flip_negate:
        signs = np.ones(spec.channels, np.float32)
        signs[list(spec.flip_negate)] = -1
        value = tf.cond(geometry.flip, lambda: value * signs, lambda: value)
    if augmentation.rotate > 0 and spec.vector_xy:
        x_channel, y_channel = spec.vector_xy
        channels = tf.unstack(value, spec.channels, axis=-1)
        x, y = channels[x_channel], channels[y_channel]
        cos, sin = tf.cos(geometry.angle), tf.sin(geometry.angle)
        channels[x_channel] = cos * x + sin * y
        channels[y_channel] = cos * y - sin * x
        value = tf.stack(channels, axis=-1)
    if augmentation.warps and spec.kind == "normals" and spec.interpolation == "bilinear":
        value = tf.math.divide_no_nan(value, tf.norm(value, axis=-1, keepdims=True))
    return value


def recolour(
    image: tf.Tensor, augmentation: Augmentation, uniform: tf.Tensor, inside: tf.Tensor
) -> tf.Tensor:
    """Changes brightness, contrast, saturation and hue, in this order, each clipped to 0 ... 255.

    Args:
      image: uint8 [h, w, 3].
      augmentation: the ranges.
      uniform: float32 [4] from U[0, 1).
      inside: bool [h, w], the pixels whose mean grey is the centre of the contrast change.
    """
    signed = 2 * uniform - 1
    value = tf.cast(image, tf.float32)

    def grey(rgb):  # ITU-R BT.601
        return tf.tensordot(rgb, tf.constant([0.299, 0.587, 0.114]), 1)[..., None]

    def blend(other, strength, draw):
        return tf.clip_by_value(other + (value - other) * (1 + strength * draw), 0.0, 255.0)

    if augmentation.brightness:
        value = blend(0.0, augmentation.brightness, signed[0])
    if augmentation.contrast:
        weight = tf.cast(inside, tf.float32)[..., None]
        mean = tf.reduce_sum(grey(value) * weight) / tf.maximum(tf.reduce_sum(weight), 1.0)
        value = blend(mean, augmentation.contrast, signed[1])
    if augmentation.saturation:
        value = blend(grey(value), augmentation.saturation, signed[2])
    if augmentation.hue:
        value = tf.image.adjust_hue(value / 255.0, augmentation.hue * signed[3]) * 255.0
    return tf.cast(tf.round(tf.clip_by_value(value, 0.0, 255.0)), image.dtype)
