"""What the colours of a sheet mean: a strip with a line or more for every key with classes.

Colours are mixed here, for the legend and the labels, as predicted pictures mix them.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from input_pipeline import palettes
from input_pipeline.labels import LabelSpec

_LINE, _SWATCH, _GAP = 18, 12, 4  # heights and widths in pixels
_LEAST_WIDTH = 320
_MOST_CLASSES = 60  # of a key
_STRIPES = (160, 110)  # grey of a narrow and of a wide one, as in predicted pictures
_OPACITY = 0.6  # of labels over photographs
MID_GREY = 128  # what photographs are in the middle


def hatched(size: tuple[int, int]) -> np.ndarray:
    """What stands for "no label": diagonal stripes around mid-grey, uint8 [H, W, 3]."""
    y, x = np.indices(size)
    grey = np.where((y + x) % 8 < 2, *_STRIPES)
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


def laid_over(below: np.ndarray | float, colours: np.ndarray) -> np.ndarray:
    """Colours 0 ... 255 of labels over something grey, uint8."""
    return np.rint((1 - _OPACITY) * below + _OPACITY * colours).astype(np.uint8)


def draw(specs: Mapping[str, LabelSpec], width: int) -> np.ndarray:
    """The legend of all keys, uint8 [H, W, 3], W at least `width`."""
    width = max(width, _LEAST_WIDTH)
    font = ImageFont.load_default(12)
    placed, x, y = [], 0, 0
    for text, colour in _entries(specs):
        taken = (0 if colour is None else _SWATCH + _GAP) + int(font.getlength(text)) + 3 * _GAP
        if x and (colour is None or x + taken > width):
            x, y = 0, y + _LINE
        placed.append((x, y, text, colour))
        x += taken
    strip = np.full((y + _LINE, width, 3), 255, np.uint8)
    for x, y, _, colour in placed:
        if colour is not None:
            size = (_SWATCH, _SWATCH)
            mixed = laid_over(MID_GREY, np.full((*size, 3), colour))
            swatch = hatched(size) if colour == palettes.NO_LABEL else mixed
            shown = swatch[:, : max(width - x - _GAP, 0)]
            strip[y + 3 : y + 3 + _SWATCH, x + _GAP : x + _GAP + _SWATCH] = shown
    picture = Image.fromarray(strip)
    for x, y, text, colour in placed:
        start = x + _GAP + (0 if colour is None else _SWATCH + _GAP)
        ImageDraw.Draw(picture).text((start, y + 1), text, fill="black", font=font)
    return np.asarray(picture)


def _entries(
    specs: Mapping[str, LabelSpec],
) -> Iterator[tuple[str, tuple[int, int, int] | None]]:
    """Text and colour; a text without a colour begins a line."""
    for key, spec in specs.items():
        if spec.kind != "classes":
            continue
        yield f"{key}:", None
        names = spec.class_names[:_MOST_CLASSES]
        colours = spec.palette or palettes.default(len(spec.class_names))
        yield from zip(names, colours)
        if more := len(spec.class_names) - len(names):
            yield f"and {more} more", None
    yield "all:", None
    yield "no label", palettes.NO_LABEL
