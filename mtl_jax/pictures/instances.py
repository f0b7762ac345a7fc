"""Instances in pictures: each in a colour, within a pale outline, with its number."""

import functools

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from mtl_jax.pictures import maps as visualization

_FONT_SIZE = 13
# Pixels from the middle of a number to its instance's border at least: with less it hides more than
# it tells.
_LEAST_ROOM = 5.0
_FAR = 0.9  # of the greatest distance to the border that there is in the instance


def draw(ids: np.ndarray) -> np.ndarray:
    """Instances on black.

    Args:
      ids: [H, W] integer, 0 = none.

    Returns:
      [H, W, 3] uint8.
    """
    colours = coloured(ids)
    return _outlined_and_numbered(colours, colours, ids)


def draw_over(image: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Instances laid over a photograph.

    Args:
      image: [H, W, 3] uint8.
      ids: [H, W] integer, 0 = none.

    Returns:
      [H, W, 3] uint8.
    """
    ids, colours = np.asarray(ids), coloured(ids)
    mixed = np.where((ids > 0)[..., None], visualization.blend(image, colours), image)
    return _outlined_and_numbered(mixed, colours, ids)


def coloured(ids: np.ndarray) -> np.ndarray:
    """Colours ids so that those next to each other in number differ; 0 is black.

    Args:
      ids: [H, W] integer, not negative.

    Returns:
      [H, W, 3] uint8.
    """
    from matplotlib import colors

    ids, index = np.unique(np.asarray(ids), return_inverse=True)
    # Multiples of the golden ratio never come round to a hue that was used before.
    hue = (ids * ((5**0.5 - 1) / 2)) % 1
    bright = np.where(ids % 2, 1.0, 0.75) * (ids > 0)
    table = colors.hsv_to_rgb(np.stack([hue, np.full(ids.shape, 0.8), bright], axis=-1))
    return np.rint(table * 255).astype(np.uint8)[index]


def outlines(ids: np.ndarray) -> np.ndarray:
    """[H, W] bool: the pixels of instances that touch, above, below or beside, another id."""
    ids = np.asarray(ids)
    edge = np.zeros(ids.shape, bool)
    rows, columns = ids[1:] != ids[:-1], ids[:, 1:] != ids[:, :-1]
    edge[1:] |= rows
    edge[:-1] |= rows
    edge[:, 1:] |= columns
    edge[:, :-1] |= columns
    return edge & (ids > 0)


def number_places(ids: np.ndarray) -> dict[int, tuple[int, int]]:
    """Where each instance's number goes: the middle of where its border, or the picture's, is far.

    Returns:
      {id: (row, column)}, without the instances that are too small for a number.
    """
    ids = np.asarray(ids)
    inside = np.pad((ids > 0) & ~outlines(ids), 1)
    room = ndimage.distance_transform_edt(inside)[1:-1, 1:-1]
    places = {}
    for instance, box in enumerate(ndimage.find_objects(ids), start=1):
        if box is None:
            continue
        its_room = np.where(ids[box] == instance, room[box], 0.0)
        if its_room.max() < _LEAST_ROOM:
            continue
        candidates = np.argwhere(its_room >= _FAR * its_room.max())
        off_middle = np.square(candidates - candidates.mean(axis=0)).sum(axis=1)
        row, column = candidates[off_middle.argmin()]
        places[instance] = (int(box[0].start + row), int(box[1].start + column))
    return places


def _outlined_and_numbered(picture: np.ndarray, colours: np.ndarray, ids: np.ndarray) -> np.ndarray:
    # Half white, half the instance's colour: the smallest ones are nothing but outline.
    pale = 128 + colours // 2
    canvas = Image.fromarray(np.where(outlines(ids)[..., None], pale, picture).astype(np.uint8))
    pen = ImageDraw.Draw(canvas)
    for instance, (row, column) in number_places(ids).items():
        pen.text(
            (column, row),
            str(instance),
            fill="white",
            font=_font(),
            anchor="mm",
            stroke_width=2,
            stroke_fill="black",
        )
    return np.array(canvas)


@functools.cache
def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(_FONT_SIZE)
