"""Pictures and files of images, label maps and depth maps. NumPy, PIL, OpenCV, Matplotlib's Agg.

Nothing here touches `pyplot` or any other global state, so it may run in any thread.
"""

import dataclasses
import functools
import io
import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from matplotlib import colors

DEPTH_COLORMAP = "plasma_r"  # near is yellow, far is blue, and nothing of it is grey
ERROR_COLORMAP = "YlOrRd"  # none is pale
SHARE_COLORMAP = "cividis"  # 0 is dark blue, 1 is yellow, for every kind of eye
MAX_DEPTH_MILLIMETRES = 65535
OPACITY = 0.6  # of maps over photographs
MID_GREY = 128
# Differences from the row above, and only runs of what repeats: a third of the time of zlib's level
# 2 with the best filter for each row, which takes as long as a small network, and no larger.
_COMPRESSION = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
)
_RIGHT, _WRONG = (232, 238, 244), (213, 94, 0)  # pale, and the vermilion of Okabe and Ito
_FOUND, _MISSED = (130, 170, 200), (0, 60, 120)
# Half of the contrast, around mid-grey; halves go to the even number.
_SOFTER = np.rint((np.arange(256) + MID_GREY) / 2).astype(np.uint8)
_THIRD = (np.arange(256) // 3).astype(np.uint8)

LegendEntry = tuple[str, tuple[int, int, int] | None]


@dataclasses.dataclass(frozen=True)
class DepthScale:
    """From depths, or other numbers, to colours, the same for every picture of a run.

    Attributes:
      low, high: the depths at the ends of the colour map; what lies beyond takes the end's colour.
      unit: for the colour bar.
      logarithmic: equal ratios, rather than equal differences, of depth look equally different.
      colormap: Matplotlib's name of it.
    """

    low: float
    high: float
    unit: str = "m"
    logarithmic: bool = False
    colormap: str = DEPTH_COLORMAP

    def norm(self) -> "colors.Normalize":
        """The Matplotlib norm, which clips."""
        from matplotlib import colors

        kind = colors.LogNorm if self.logarithmic else colors.Normalize
        return kind(self.low, self.high, clip=True)


@dataclasses.dataclass(frozen=True)
class Panel:
    """One picture of a figure, and what explains it.

    Attributes:
      title: above the picture.
      picture: [H, W, 3] uint8.
      legend: (name, RGB 0 ... 255, or None for stripes) of all that such a picture may show.
      absent: the names in the legend of what this one does not show.
      depth_scale: of a picture that needs a colour bar.
      opacity: of the colours that the legend or bar explains, over a photograph without its own.
    """

    title: str
    picture: np.ndarray
    legend: tuple[LegendEntry, ...] = ()
    absent: frozenset[str] = frozenset()
    depth_scale: DepthScale | None = None
    opacity: float = 1.0


def label_picture(labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Colours a label map; an id that the palette lacks, such as the ignored one, is hatched.

    Args:
      labels: [H, W] integer.
      palette: [C, 3] uint8.

    Returns:
      [H, W, 3] uint8.
    """
    labels = np.asarray(labels)
    unknown = (labels < 0) | (labels >= len(palette))
    shown = np.clip(labels, 0, len(palette) - 1)
    return hatched(_coloured(shown, np.asarray(palette, np.uint8)), unknown)


def _coloured(index: np.ndarray, table: np.ndarray) -> np.ndarray:
    """table[index] of integer [H, W] and uint8 [C, 3], for most tables in a third of the time."""
    if len(table) > 256:
        return table[index]
    whole = np.zeros((256, 1, 3), np.uint8)
    whole[: len(table), 0] = table
    return cv2.applyColorMap(np.ascontiguousarray(index, np.uint8), whole)


def hatched(picture: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """The picture with diagonal stripes of two greys, which no map has, where nothing is known.

    Args:
      picture: [H, W, 3] uint8.
      unknown: [H, W] bool.
    """
    if not unknown.any():
        return picture
    rows, columns = np.indices(unknown.shape, sparse=True)
    stripes = np.where((rows + columns) % 8 < 2, np.uint8(160), np.uint8(110))
    return np.where(unknown[..., None], stripes[..., None], picture)


def depth_picture(depth: np.ndarray, scale: DepthScale, *, invalid: float = 0.0) -> np.ndarray:
    """Colours a depth map; `invalid` and NaN are hatched.

    Args:
      depth: [H, W] float.
      scale: the colour scale.
      invalid: the value that means "unknown".

    Returns:
      [H, W, 3] uint8.
    """
    depth = np.asarray(depth, np.float32)
    unknown = np.isnan(depth) | (depth == invalid)
    return hatched(_coloured(_steps(depth, scale), _colour_table(scale.colormap)), unknown)


def _steps(depth: np.ndarray, scale: DepthScale) -> np.ndarray:
    """[H, W] uint8 of [H, W] float32: 255 times the place on the scale that `scale.norm()` tells.

    Matplotlib's norms make masked arrays and several copies, which takes twenty times as long.
    """
    low, high = scale.low, scale.high
    steps = np.clip(np.nan_to_num(depth, nan=high), low, high)
    if scale.logarithmic:
        steps, low, high = np.log(steps), math.log(low), math.log(high)
    steps = (steps - np.float32(low)) * np.float32(255 / (high - low))
    return np.rint(np.clip(steps, 0, 255)).astype(np.uint8)


def normals_picture(normals: np.ndarray) -> np.ndarray:
    """Colours surface normals: red is right, green up, blue towards the camera; 0 is black.

    This is the form of files; pictures are `hatched` where the normal is unknown.

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
    from matplotlib import colors

    dy, dx = np.moveaxis(np.asarray(offsets, np.float32), -1, 0)
    length = np.hypot(dy, dx)
    hue = (np.arctan2(dy, dx) / (2 * np.pi)) % 1
    value = length / max(float(length.max(initial=0)), 1e-6)
    hsv = np.stack([hue, np.ones_like(hue), value], axis=-1)
    return np.rint(colors.hsv_to_rgb(hsv) * 255).astype(np.uint8)


def resize_nearest(value: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[h, w, ...] ─► [H, W, ...], the value at each pixel's centre: ids and depths never mix."""
    rows, columns = (
        ((np.arange(large) + 0.5) * small / large).astype(np.int64)
        for large, small in zip(size, value.shape[:2])
    )
    return value if value.shape[:2] == size else value[rows[:, None], columns]


def blend(image: np.ndarray, picture: np.ndarray, opacity: float = OPACITY) -> np.ndarray:
    """Lays `picture` over `image`, both [H, W, 3] uint8."""
    return cv2.addWeighted(image, 1 - opacity, picture, opacity, 0)


def grey(image: np.ndarray) -> np.ndarray:
    """The brightness of a [H, W, 3] uint8 picture, as one of the same shape."""
    return np.asarray(Image.fromarray(image).convert("L").convert("RGB"))


def lay_over(image: np.ndarray, picture: np.ndarray, opacity: float = OPACITY) -> np.ndarray:
    """A picture over a photograph without its colours, so that those of the picture can be told.

    The photograph keeps half of its contrast, around mid-grey, over which legends show theirs.
    """
    soft = cv2.LUT(np.asarray(Image.fromarray(image).convert("L")), _SOFTER)
    return blend(cv2.cvtColor(soft, cv2.COLOR_GRAY2RGB), picture, opacity)


def outline(picture: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The picture, darker where labels touch others below or to the right."""
    edge = np.zeros(labels.shape, bool)
    edge[:-1] |= labels[1:] != labels[:-1]
    edge[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    # Indexing with the edge takes several times as long.
    return cv2.copyTo(cv2.LUT(picture, _THIRD), edge.view(np.uint8), picture.copy())


def wrong_pixels(title: str, wrong: np.ndarray, known: np.ndarray) -> Panel:
    """A panel of [H, W] bool arrays: what is wrong, of what is known."""
    picture = np.where(wrong[..., None], np.uint8(_WRONG), np.uint8(_RIGHT))
    legend = (("right", _RIGHT), ("wrong", _WRONG))
    return Panel(title, hatched(picture, ~known), legend)


def missed_and_invented(name: str, found: np.ndarray, there: np.ndarray) -> Panel:
    """A panel of [H, W] bool arrays: what is predicted somewhere, and what is there."""
    missed, invented = there & ~found, found & ~there
    picture = np.full((*found.shape, 3), _RIGHT, np.uint8)
    for where, colour in ((found & there, _FOUND), (missed, _MISSED), (invented, _WRONG)):
        picture[where] = colour
    either = max(int(np.sum(found | there)), 1)
    legend = (("found", _FOUND), ("missed", _MISSED), ("invented", _WRONG))
    return Panel(f"{name}: {100 * np.sum(found & there) / either:.0f} % shared", picture, legend)


def error_map(
    title: str, error: np.ndarray, known: np.ndarray, *, largest: float, unit: str
) -> Panel:
    """A panel of errors per pixel, 0 or more, [H, W] float, with its colour bar."""
    scale = DepthScale(0.0, largest, unit, colormap=ERROR_COLORMAP)
    picture = depth_picture(np.where(known, error, np.nan), scale, invalid=-1.0)
    return Panel(title, picture, depth_scale=scale)


def encode_png(picture: np.ndarray) -> bytes:
    """PNG of a [H, W, 3] uint8 picture."""
    return _png(cv2.cvtColor(np.ascontiguousarray(picture, np.uint8), cv2.COLOR_RGB2BGR))


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
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=2)
    return buffer.getvalue()


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
    return _png(ids.astype(np.uint16))


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
    return _png(written), clipped


def encode_share_png(shares: np.ndarray) -> bytes:
    """8-bit grey PNG of shares, 0 ... 1: 255 times as much, cut off, as edge benchmarks read it.

    Raises:
      ValueError: a share is NaN or beyond 0 ... 1.
    """
    shares = np.asarray(shares, np.float32)
    if not np.all((shares >= 0) & (shares <= 1)):
        raise ValueError("Shares must be from 0 to 1 to be written as grey; found NaN or others.")
    return _png((255 * shares).astype(np.uint8))


def _png(pixels: np.ndarray) -> bytes:
    """PNG of [H, W] uint8 or uint16, or of [H, W, 3] uint8 in OpenCV's order of colours."""
    encoded, data = cv2.imencode(".png", pixels, _COMPRESSION)
    if not encoded:
        raise ValueError(f"OpenCV makes no PNG of {pixels.dtype} of shape {pixels.shape}.")
    return data.tobytes()


@functools.cache
def _colour_table(name: str) -> np.ndarray:
    """[256, 3] uint8."""
    import matplotlib

    table = matplotlib.colormaps[name](np.linspace(0.0, 1.0, 256))[:, :3]
    return np.rint(table * 255).astype(np.uint8)
