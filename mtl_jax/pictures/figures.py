"""Figures of an image and what is known of it: pictures in a row, explained below.

Matplotlib is imported where it draws, here and in `maps` and `instances`: that takes half a second,
which the start of a training needs not wait for.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mtl_jax.pictures.maps import MID_GREY, DepthScale, LegendEntry, Panel, resize_nearest

_GAP = 10  # pixels between two pictures
_HEAD = 30  # pixels for the titles
_DPI = 100
_ENTRY_WIDTH = 128  # pixels for an entry of a legend
_ENTRY_HEIGHT = 22
_BAR_HEIGHT = 60
# A very tall picture is drawn narrower rather than on a sheet of any height.
_TALLEST = 2.0


def draw(
    kind: str,
    image: np.ndarray,
    maps: Mapping[str, np.ndarray],
    tasks: Mapping[str, Any],
    *,
    width: int,
    whole_legends: bool = False,
) -> np.ndarray:
    """Draws one figure.

    Everything is drawn at the figure's own scale, so outlines and numbers are as legible of a large
    photograph as of a small one.

    Args:
      kind: 'overlay', the image and each prediction laid over it; or 'side_by_side', the image and
        each prediction as it is.
      image: [H, W, 3] uint8.
      maps: {task: [H, W, ...]}, post-processed.
      tasks: {name: Task}.
      width: of each picture, in pixels.
      whole_legends: explains what does not occur too, so that figures of one size differ in nothing
        but their pictures, as the frames of a video must.

    Returns:
      [H', W', 3] uint8.
    """
    size = fit(image.shape[:2], width)
    image = resize(image, size)
    maps = {name: enlarge(maps[name], size) for name in tasks}
    panels = [task.panel(image, maps[name]) for name, task in tasks.items()]
    if kind == "side_by_side":
        pictures = [task.visualize(maps[name]) for name, task in tasks.items()]
        panels = [
            dataclasses.replace(panel, picture=picture, opacity=1.0)
            for panel, picture in zip(panels, pictures)
        ]
    if not whole_legends:
        panels = [shortened(panel) for panel in panels]
    return compose([Panel("input", image), *panels], width=width)


def fit(size: tuple[int, int], width: int) -> tuple[int, int]:
    """(height, width) of an image of (height, width) `size` in a column of a figure."""
    scale = min(width / size[1], _TALLEST * width / size[0])
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width


def shortened(panel: Panel) -> Panel:
    """The panel with no more in its legend than there is in its picture."""
    present = tuple(entry for entry in panel.legend if entry[0] not in panel.absent)
    return dataclasses.replace(panel, legend=present, absent=frozenset())


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes [h, w, 3] uint8 to [*size, 3], smoothly; nothing aliases where it shrinks."""
    return image if image.shape[:2] == size else _smooth(image, size)


def enlarge(value: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a map to be looked at: with smooth borders, but no value that means something else.

    Args:
      value: [h, w] integer ids, or [h, w] or [h, w, C] float. Where a float is NaN or a pixel is 0,
        which mean "unknown", the nearest value is taken as it is.
      size: (H, W).

    Returns:
      [H, W] or [H, W, C]. Each pixel has the id that most of what is around it has, or the mean of
      what is around it.
    """
    value = np.asarray(value)
    if value.shape[:2] == size:
        return value
    nearest = resize_nearest(value, size)
    if value.dtype.kind in "iu":
        return _most(value, nearest, size)
    layers = value[..., None] if value.ndim == 2 else value
    known = ~np.isnan(layers).any(-1) & layers.any(-1)
    if not known.any():
        return nearest
    smooth = np.stack([_smooth(layer, size) for layer in np.moveaxis(layers, -1, 0)], -1)
    whole = _smooth(known.astype(np.float32), size) > 1 - 1e-4  # NaN and 0 are mixed into nothing
    return np.where(whole[..., None], smooth, nearest.reshape(smooth.shape)).reshape(nearest.shape)


def _most(ids: np.ndarray, nearest: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    chosen, most = nearest.copy(), np.full(size, 0.5, np.float32)
    for i in np.unique(ids):
        share = _smooth((ids == i).astype(np.float32), size)
        chosen[share > most] = i
    return chosen


def compose(panels: Sequence[Panel], *, width: int) -> np.ndarray:
    """Puts panels side by side, each under its title and above its legend or colour bar.

    Args:
      panels: at least one; no picture wider than `width`.
      width: that each panel is given, in pixels.

    Returns:
      [H', W', 3] uint8, on white.
    """
    height = max(panel.picture.shape[0] for panel in panels)
    foot = max(_foot_height(panel, width) for panel in panels)
    columns = []
    for panel in panels:
        column = np.full((_HEAD + height + foot, width, 3), 255, np.uint8)
        column[:_HEAD] = _title(panel.title, width)
        rows, across = panel.picture.shape[:2]
        left = (width - across) // 2
        column[_HEAD : _HEAD + rows, left : left + across] = panel.picture
        explained = _foot(_with_shown_colours(panel), (foot, width))
        column[_HEAD + height :] = explained
        columns.append(column)
    gap = np.full((_HEAD + height + foot, _GAP, 3), 255, np.uint8)
    between = [part for column in columns for part in (gap, column)]
    return np.concatenate(between[1:], axis=1)


def stack(rows: Sequence[Sequence[Panel]], *, width: int) -> np.ndarray:
    """Puts rows of panels below each other; arguments and result as of `compose`."""
    drawn = [compose(row, width=width) for row in rows]
    widest = max(row.shape[1] for row in drawn)
    margins = ((0, _GAP), (0, 0), (0, 0))
    white = [np.pad(row, margins, constant_values=255) for row in drawn]
    return np.concatenate(
        [
            np.pad(row, ((0, 0), (0, widest - row.shape[1]), (0, 0)), constant_values=255)
            for row in white
        ]
    )


def _smooth(value: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    # Pillow's filters widen where they shrink, so nothing aliases.
    return np.asarray(Image.fromarray(value).resize(size[::-1], Image.Resampling.BILINEAR))


def _foot_height(panel: Panel, width: int) -> int:
    """Room for the legend or colour bar, in pixels."""
    rows = -(-len(panel.legend) // _legend_columns(width))
    return 10 + max(_ENTRY_HEIGHT * rows, _BAR_HEIGHT if panel.depth_scale else 0)


def _legend_columns(width: int) -> int:
    return max(1, width // _ENTRY_WIDTH)


@functools.lru_cache(maxsize=64)
def _title(title: str, width: int) -> np.ndarray:
    """[_HEAD, width, 3] uint8, black on white; a title too long is cut at both ends."""
    strip = Image.new("RGB", (width, _HEAD), "white")
    font = ImageFont.load_default(16)
    ImageDraw.Draw(strip).text((width / 2, _HEAD / 2), title, fill="black", font=font, anchor="mm")
    return np.asarray(strip)


def _with_shown_colours(panel: Panel) -> tuple:
    """(title, legend, depth scale, opacity), the legend's colours as the picture shows them."""
    legend = tuple(
        (name, colour and tuple(over_grey(np.array(colour), panel.opacity).tolist()))
        for name, colour in panel.legend
    )
    return panel.title, legend, panel.depth_scale, panel.opacity


def over_grey(colours: np.ndarray, opacity: float) -> np.ndarray:
    """[..., 3] colours 0 ... 255 laid over mid-grey."""
    return np.rint(MID_GREY + opacity * (colours - float(MID_GREY))).astype(np.int64)


@functools.lru_cache(maxsize=64)
def _foot(
    explained: tuple[str, tuple[LegendEntry, ...], DepthScale | None, float],
    size: tuple[int, int],
) -> np.ndarray:
    """[*size, 3] uint8: what explains the colours. Few of them differ, and drawing takes long."""
    from matplotlib import figure
    from matplotlib.backends import backend_agg

    name, legend, scale, opacity = explained
    height, width = size
    if not legend and not scale:
        return np.full((height, width, 3), 255, np.uint8)
    fig = figure.Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    canvas = backend_agg.FigureCanvasAgg(fig)
    if legend:
        _draw_legend(fig.add_axes((0, 0, 1, 1)), legend, _legend_columns(width))
    if scale:
        bar = fig.add_axes((0.05, 1 - 22 / height, 0.9, 12 / height))
        _draw_colour_bar(fig, bar, scale, name, opacity)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_legend(axes, entries, columns):
    from matplotlib import patches

    axes.set_axis_off()
    handles = [patches.Patch(label=name, **_patch(colour)) for name, colour in entries]
    axes.legend(
        handles=handles,
        loc="upper center",
        ncols=columns,
        fontsize=9,
        frameon=False,
        handlelength=1.2,
        columnspacing=1.0,
    )


def _patch(colour: tuple[int, int, int] | None) -> dict[str, Any]:
    if colour is None:
        return {"facecolor": "0.43", "edgecolor": "0.63", "hatch": "////"}
    return {"facecolor": np.asarray(colour) / 255, "edgecolor": "0.4"}


def _draw_colour_bar(fig, axes, scale, name, opacity):
    import matplotlib
    from matplotlib import cm, colors

    table = matplotlib.colormaps[scale.colormap](np.linspace(0, 1, 256))[:, :3]
    shown = over_grey(table * 255, opacity) / 255
    mappable = cm.ScalarMappable(scale.norm(), colors.ListedColormap(shown))
    bar = fig.colorbar(mappable, cax=axes, orientation="horizontal")
    bar.set_label(f"{name} [{scale.unit}]" if scale.unit else name, fontsize=9)
    chosen = ticks(scale)
    bar.set_ticks(chosen, labels=[f"{tick:g}" for tick in chosen])
    bar.minorticks_off()
    bar.ax.tick_params(labelsize=8)


def ticks(scale: DepthScale) -> list[float]:
    """Round values within the scale: 1, 2, 5, 10, ... where it is logarithmic."""
    from matplotlib import ticker

    if scale.logarithmic:
        decades = range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1)
        values = [float(f"{digit}e{decade}") for decade in decades for digit in (1, 2, 5)]
    else:
        values = ticker.MaxNLocator(7, steps=(1, 2, 5, 10)).tick_values(scale.low, scale.high)
    return [float(value) for value in values if scale.low <= value <= scale.high]
