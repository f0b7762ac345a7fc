"""Pictures and files of images, label maps and depth maps. NumPy, PIL and Matplotlib's Agg only.

Nothing here touches `pyplot` or any other global state, so it may run in any thread.
"""

import dataclasses
import functools
import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib import colors
from PIL import Image, ImageDraw, ImageFont

DEPTH_COLORMAP = "plasma_r"  # near is yellow, far is blue, and nothing of it is the invalid's black
MAX_DEPTH_MILLIMETRES = 65535
_TITLE_HEIGHT = 18


@dataclasses.dataclass(frozen=True)
class DepthScale:
    """From depths to colours, the same for every picture of a run.

    Attributes:
      low, high: the depths at the ends of the colour map; what lies beyond takes the end's colour.
      unit: for the colour bar.
      logarithmic: equal ratios, rather than equal differences, of depth look equally different.
    """

    low: float
    high: float
    unit: str = "m"
    logarithmic: bool = False

    def norm(self) -> colors.Normalize:
        """The Matplotlib norm, which clips."""
        kind = colors.LogNorm if self.logarithmic else colors.Normalize
        return kind(self.low, self.high, clip=True)


@dataclasses.dataclass(frozen=True)
class Panel:
    """One picture of a figure, and what explains it.

    Attributes:
      title: above the picture.
      picture: [H, W, 3] uint8.
      legend: (name, RGB 0 ... 255) of all that such a picture may show.
      absent: the names in the legend of what this one does not show.
      depth_scale: of a picture that needs a colour bar.
    """

    title: str
    picture: np.ndarray
    legend: tuple[tuple[str, tuple[int, int, int]], ...] = ()
    absent: frozenset[str] = frozenset()
    depth_scale: DepthScale | None = None


def voc_palette(num_colours: int) -> np.ndarray:
    """The PASCAL VOC colours: the bits of the class id, dealt to R, G, B from the top bit down.

    Returns:
      [num_colours, 3] uint8; (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), ...
    """
    ids = np.arange(num_colours)
    palette = np.zeros((num_colours, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= (((ids >> (3 * bit + channel)) & 1) << (7 - bit)).astype(
                np.uint8
            )
    return palette


def label_picture(labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Colours a label map; an id that the palette lacks, such as the ignored one, is black.

    Args:
      labels: [H, W] integer.
      palette: [C, 3] uint8.

    Returns:
      [H, W, 3] uint8.
    """
    labels = np.asarray(labels)
    known = (labels >= 0) & (labels < len(palette))
    picture = np.asarray(palette, np.uint8)[np.where(known, labels, 0)]
    picture[~known] = 0
    return picture


def depth_picture(depth: np.ndarray, scale: DepthScale, *, invalid: float = 0.0) -> np.ndarray:
    """Colours a depth map; `invalid` and NaN are black.

    Args:
      depth: [H, W] float.
      scale: the colour scale.
      invalid: the value that means "unknown".

    Returns:
      [H, W, 3] uint8.
    """
    depth = np.asarray(depth, np.float32)
    known = ~np.isnan(depth) & (depth != invalid)
    position = scale.norm()(np.where(known, depth, np.float32(scale.high)))
    table = _colour_table(DEPTH_COLORMAP)
    picture = table[np.rint(np.asarray(position) * 255).astype(np.int64)]
    picture[~known] = 0
    return picture


def normals_picture(normals: np.ndarray) -> np.ndarray:
    """Colours surface normals: red is right, green up, blue towards the camera; 0 is black.

    A file so coloured reads back as x = 2R/255 − 1, y = 1 − 2G/255, z = 1 − 2B/255.

    Args:
      normals: [H, W, 3] unit vectors, x right, y down, z ahead; zero where unknown.

    Returns:
      [H, W, 3] uint8.
    """
    normals = np.asarray(normals, np.float32)
    towards_viewer = normals * np.array([1, -1, -1], np.float32)
    picture = np.rint((np.clip(towards_viewer, -1, 1) + 1) * 127.5).astype(np.uint8)
    picture[~normals.any(axis=-1)] = 0
    return picture


def offset_picture(offsets: np.ndarray) -> np.ndarray:
    """Colours vectors: the hue is the direction, black is none, and brighter is longer.

    Args:
      offsets: [H, W, 2] float, (dy, dx). The longest of them is drawn in full colour.

    Returns:
      [H, W, 3] uint8.
    """
    dy, dx = np.moveaxis(np.asarray(offsets, np.float32), -1, 0)
    length = np.hypot(dy, dx)
    hue = (np.arctan2(dy, dx) / (2 * np.pi)) % 1
    value = length / max(float(length.max(initial=0)), 1e-6)
    hsv = np.stack([hue, np.ones_like(hue), value], axis=-1)
    return np.rint(colors.hsv_to_rgb(hsv) * 255).astype(np.uint8)


def blend(image: np.ndarray, picture: np.ndarray, opacity: float = 0.6) -> np.ndarray:
    """Lays `picture` over `image`, both [H, W, 3] uint8."""
    mixed = (1 - opacity) * image.astype(np.float32) + opacity * picture.astype(np.float32)
    return np.rint(mixed).astype(np.uint8)


def grey(image: np.ndarray) -> np.ndarray:
    """The brightness of a [H, W, 3] uint8 picture, as one of the same shape."""
    return np.asarray(Image.fromarray(image).convert("L").convert("RGB"))


def panel(images: Sequence[np.ndarray], titles: Sequence[str] | None = None) -> np.ndarray:
    """Puts pictures of one size side by side, each under its title.

    Args:
      images: each [H, W, 3] uint8.
      titles: as many, or None for none.

    Returns:
      [H', W', 3] uint8, on white.

    Raises:
      ValueError: there is no picture, or sizes or numbers differ.
    """
    shapes = [image.shape for image in images]
    if len(set(shapes)) != 1 or shapes[0][2:] != (3,):
        raise ValueError(f"panel: expected pictures of one shape [H, W, 3], found {shapes}.")
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"panel: {len(images)} pictures, but {len(titles)} titles.")
    height, width, _ = shapes[0]
    gap, top = 4, _TITLE_HEIGHT if titles else 0
    canvas = np.full(
        (top + height, len(images) * (width + gap) - gap, 3), np.uint8(255), dtype=np.uint8
    )
    for i, image in enumerate(images):
        left = i * (width + gap)
        canvas[top:, left : left + width] = image
        if titles:
            canvas[:top, left : left + width] = _title_strip(titles[i], width)
    return canvas


def encode_png(picture: np.ndarray) -> bytes:
    """PNG of a [H, W, 3] uint8 picture."""
    return _png(Image.fromarray(np.ascontiguousarray(picture, np.uint8)))


def encode_label_png(labels: np.ndarray, palette: np.ndarray) -> bytes:
    """PNG whose pixel values are class ids and whose palette shows them in their colours.

    Args:
      labels: [H, W] integer, 0 ... 255.
      palette: [C, 3] uint8, C ≤ 256. Ids without a colour are shown black.

    Raises:
      ValueError: an id does not fit into 8 bits.
    """
    labels = np.asarray(labels)
    if labels.size and not (labels.min() >= 0 and labels.max() <= 255):
        raise ValueError(
            f"A palette PNG holds ids from 0 to 255; found {labels.min()} to {labels.max()}."
        )
    picture = Image.fromarray(labels.astype(np.uint8)).convert("L")
    colour_list = np.zeros((256, 3), np.uint8)
    colour_list[: len(palette)] = palette
    picture.putpalette(colour_list.tobytes())
    return _png(picture)


def encode_id_png(ids: np.ndarray) -> bytes:
    """16-bit grey PNG of ids.

    Args:
      ids: [H, W] integer, 0 ... 65535.

    Raises:
      ValueError: an id does not fit into 16 bits.
    """
    ids = np.asarray(ids)
    if ids.size and not (ids.min() >= 0 and ids.max() <= 65535):
        raise ValueError(
            f"A 16-bit PNG holds ids from 0 to 65535; found {ids.min()} to {ids.max()}."
        )
    return _png(Image.fromarray(ids.astype(np.uint16)))


def encode_depth_png(metres: np.ndarray) -> tuple[bytes, int]:
    """16-bit PNG of depth in millimetres, 0 = unknown.

    Args:
      metres: [H, W] float, ≥ 0.

    Returns:
      The file, and the number of pixels that lie beyond 65.535 m, the most it can hold, and are
      written as that.

    Raises:
      ValueError: a depth is negative or NaN.
    """
    millimetres = np.rint(np.asarray(metres, np.float64) * 1000.0)
    if not np.all(millimetres >= 0):
        raise ValueError(
            f"Depth must be 0 m or more to be written in millimetres; found "
            f"{int(np.sum(np.isnan(millimetres)))} NaN and {int(np.sum(millimetres < 0))} negative "
            "pixels."
        )
    clipped = int(np.sum(millimetres > MAX_DEPTH_MILLIMETRES))
    written = np.minimum(millimetres, MAX_DEPTH_MILLIMETRES).astype(np.uint16)
    return _png(Image.fromarray(written)), clipped


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


@functools.cache
def _colour_table(name: str) -> np.ndarray:
    """[256, 3] uint8."""
    table = matplotlib.colormaps[name](np.linspace(0.0, 1.0, 256))[:, :3]
    return np.rint(table * 255).astype(np.uint8)


def _title_strip(title: str, width: int) -> np.ndarray:
    """[_TITLE_HEIGHT, width, 3] uint8, black on white; a title too long is cut at the right."""
    strip = Image.new("RGB", (width, _TITLE_HEIGHT), "white")
    ImageDraw.Draw(strip).text((3, 2), title, fill="black", font=ImageFont.load_default(12))
    return np.asarray(strip)
