"""Draws a contact sheet of a prepared data set: a row per example, a picture per key, a legend."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from input_pipeline import _legend, palettes, records
from input_pipeline.errors import DatasetError
from input_pipeline.labels import LabelSpec
from input_pipeline.quiet_tensorflow import tfds

_AXES = np.array([1, -1, -1])  # of normals: red is right, green is up, blue is towards the camera
_TITLE = 16  # height in pixels
_GAP = 4
_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")


def picture(
    value: np.ndarray, spec: LabelSpec, image: np.ndarray, limits: tuple[float, float]
) -> np.ndarray:
    """One array as a picture; ids and normals lie over the photograph. Without a label: hatched.

    Args:
      value: as in a batch, [H, W] or [H, W, C].
      spec: what it means.
      image: uint8 [H, W, 3].
      limits: of a map of one channel, the values that get the first and the last colour where the
        spec has no valid range.

    Returns:
      uint8 [H, W, 3].
    """
    if spec.kind == "image":
        return value
    if spec.dtype == "float32" and spec.channels == 0:
        known = value != spec.invalid if spec.invalid is not None else np.full(value.shape, True)
        return _labelled(known, _colour_map(_position(value, spec, limits)))
    if spec.kind == "classes":
        known = value < len(spec.class_names)
        palette = np.asarray(spec.palette or palettes.default(len(spec.class_names)), np.uint8)
        colours = palette[np.where(known, value, 0)]
    elif spec.kind == "instances":
        colours = np.asarray(palettes.default(256))[(value - 1) % 256]
        # No instance is no lack of a label: there is background.
        return np.where(value[..., None] > 0, _legend.laid_over(_softer(image), colours), image)
    elif spec.kind == "normals":
        known, colours = (value != 0).any(-1), np.rint((value * _AXES + 1) * 127.5)
    else:  # offsets: direction by colour, in the units of the largest
        known = (value != 0).any(-1)
        largest = max(float(np.abs(value).max()), 1e-12)
        colours = np.zeros((*value.shape[:2], 3))
        colours[..., :2] = (value[..., :2] / largest + 1) * 127.5
    return _labelled(known, _legend.laid_over(_softer(image), colours))


def _softer(image: np.ndarray) -> np.ndarray:
    """A photograph without its colours, so that those of labels can be told; as in predictions.

    It keeps half of its contrast, around the grey over which the legend shows the colours.
    """
    grey = np.asarray(Image.fromarray(image).convert("L"), np.float32)
    return np.rint((grey[..., None] + _legend.MID_GREY) / 2)


def _position(value: np.ndarray, spec: LabelSpec, limits: tuple[float, float]) -> np.ndarray:
    """Where on the colour map values are, 0 ... 1; of metric depth, ratios count."""
    low, high = spec.valid_range or limits
    value = np.clip(value, low, high)
    if spec.kind == "depth" and low > 0:
        value, low, high = np.log(value), np.log(low), np.log(high)
    return (value - low) / max(high - low, 1e-12)


def _labelled(known: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """`colours` [H, W, 3] where `known` [H, W], and hatching elsewhere."""
    return np.where(known[..., None], colours, _legend.hatched(known.shape)).astype(np.uint8)


def sheet(builder: tfds.core.DatasetBuilder, *, split: str = "train", count: int = 6) -> np.ndarray:
    """Examples from all over a split, and what the colours mean: uint8 [H, W, 3]."""
    specs = builder.label_specs
    found = records.Records(builder, split, tuple(specs))
    indices = np.unique(np.linspace(0, found.num_examples - 1, count).astype(np.int64))
    rows = []
    for name, record in zip(found.ids(indices), found.read(indices)):
        example = {key: value.numpy() for key, value in found.decode(record).items()}
        rows.append(_row(name, example, specs))
    width = max(row.shape[1] for row in rows)
    legend = _legend.draw(specs, width)
    width = legend.shape[1]
    rows = [
        np.pad(row, ((0, _GAP), (0, width - row.shape[1]), (0, 0)), constant_values=255)
        for row in rows
    ]
    return np.concatenate([*rows, legend])


def check(file: str | os.PathLike) -> None:
    """Makes the folder of a sheet, before the data set is prepared, which may take long.

    Raises:
      DatasetError: no sheet can be written there.
    """
    path = Path(file)
    if path.suffix.lower() not in _ENDINGS:
        raise DatasetError(
            f"The sheet {path} needs a name that ends in one of {', '.join(_ENDINGS)}; found "
            f"{path.suffix or 'no ending'}."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise _unwritable(path, error) from error


def write(builder: tfds.core.DatasetBuilder, file: str | os.PathLike) -> None:
    """Writes a sheet of a data set's first split, which is for training, to an image file.

    Raises:
      DatasetError: the file cannot be written.
    """
    picture = Image.fromarray(sheet(builder, split=next(iter(builder.info.splits))))
    try:
        picture.save(file)
    except OSError as error:
        raise _unwritable(file, error) from error


def _unwritable(file: str | os.PathLike, error: OSError) -> DatasetError:
    return DatasetError(
        f"The sheet {file} cannot be written ({error.strerror}). Make room, or name another file."
    )


def _row(
    name: str, example: Mapping[str, np.ndarray], specs: Mapping[str, LabelSpec]
) -> np.ndarray:
    image = example["image"]
    pictures = [_title(image, name)]
    for key, spec in specs.items():
        if spec.kind != "image":
            low, high = _limits(example[key], spec)
            numbers = f": {low:.4g} to {high:.4g} {spec.unit}" if high > low else ""
            shown = picture(example[key], spec, image, (low, high))
            pictures.append(_title(shown, key + numbers))
    return np.concatenate(pictures, axis=1)


def _limits(value: np.ndarray, spec: LabelSpec) -> tuple[float, float]:
    """Least and greatest valid value of a map of one channel."""
    if spec.dtype != "float32" or spec.channels:
        return 0.0, 0.0
    valid = value if spec.invalid is None else value[value != spec.invalid]
    return (float(valid.min()), float(valid.max())) if valid.size else (0.0, 0.0)


def _title(shown: np.ndarray, text: str) -> np.ndarray:
    strip = Image.new("RGB", (shown.shape[1], _TITLE), "white")
    ImageDraw.Draw(strip).text((2, 1), text, fill="black", font=ImageFont.load_default(12))
    return np.concatenate([np.asarray(strip), shown])


def _colour_map(position: np.ndarray) -> np.ndarray:
    return np.rint(matplotlib.colormaps["plasma_r"](position)[..., :3] * 255)
