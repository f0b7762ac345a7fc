"""Figures of an image and what is predicted of it: pictures in a row, explained below."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import cm, figure, patches, ticker
from matplotlib.backends import backend_agg
from PIL import Image, ImageDraw, ImageFont

from mtl_jax.pictures.maps import DEPTH_COLORMAP, DepthScale, Panel
from mtl_jax.prediction.network import resize_nearest

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
      kind: 'overlay', each prediction laid over the image; or 'side_by_side', the image and each
        prediction as it is.
      image: [H, W, 3] uint8.
      maps: {task: [H, W, ...]}, post-processed.
      tasks: {name: Task}.
      width: of each picture, in pixels.
      whole_legends: explains what does not occur too, so that figures of one size differ in nothing
        but their pictures, as the frames of a video must.

    Returns:
      [H', W', 3] uint8.
    """
    scale = min(width / image.shape[1], _TALLEST * width / image.shape[0])
    size = tuple(max(1, round(side * scale)) for side in image.shape[:2])
    image = _resize(image, size)
    maps = {name: resize_nearest(maps[name], size) for name in tasks}
    panels = [task.panel(image, maps[name]) for name, task in tasks.items()]
    if kind == "side_by_side":
        pictures = [task.visualize(maps[name]) for name, task in tasks.items()]
        plain = [dataclasses.replace(p, picture=picture) for p, picture in zip(panels, pictures)]
        panels = [Panel("input", image), *plain]
    if not whole_legends:
        panels = [dataclasses.replace(p, legend=_present(p), absent=frozenset()) for p in panels]
    return compose(panels, width=width)


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
        explained = _foot(panel.title, panel.legend, panel.depth_scale, (foot, width))
        column[_HEAD + height :] = explained
        columns.append(column)
    gap = np.full((_HEAD + height + foot, _GAP, 3), 255, np.uint8)
    between = [part for column in columns for part in (gap, column)]
    return np.concatenate(between[1:], axis=1)


def _present(panel: Panel) -> tuple[tuple[str, tuple[int, int, int]], ...]:
    return tuple(entry for entry in panel.legend if entry[0] not in panel.absent)


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.shape[:2] == size:
        return image
    # Pillow's filters widen where they shrink, so nothing aliases.
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


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


@functools.lru_cache(maxsize=64)
def _foot(
    name: str,
    legend: tuple[tuple[str, tuple[int, int, int]], ...],
    scale: DepthScale | None,
    size: tuple[int, int],
) -> np.ndarray:
    """[*size, 3] uint8: what explains the colours. Few of them differ, and drawing takes long."""
    height, width = size
    if not legend and not scale:
        return np.full((height, width, 3), 255, np.uint8)
    fig = figure.Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    canvas = backend_agg.FigureCanvasAgg(fig)
    if legend:
        _draw_legend(fig.add_axes((0, 0, 1, 1)), legend, _legend_columns(width))
    if scale:
        bar = fig.add_axes((0.05, 1 - 22 / height, 0.9, 12 / height))
        _draw_colour_bar(fig, bar, scale, name)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_legend(axes, entries, columns):
    axes.set_axis_off()
    handles = [
        patches.Patch(facecolor=np.asarray(colour) / 255, edgecolor="0.4", label=name)
        for name, colour in entries
    ]
    axes.legend(
        handles=handles,
        loc="upper center",
        ncols=columns,
        fontsize=9,
        frameon=False,
        handlelength=1.2,
        columnspacing=1.0,
    )


def _draw_colour_bar(fig, axes, scale, name):
    mappable = cm.ScalarMappable(scale.norm(), matplotlib.colormaps[DEPTH_COLORMAP])
    bar = fig.colorbar(mappable, cax=axes, orientation="horizontal")
    bar.set_label(f"{name} [{scale.unit}]" if scale.unit else name, fontsize=9)
    bar.set_ticks(ticks := _ticks(scale), labels=[f"{tick:g}" for tick in ticks])
    bar.minorticks_off()
    bar.ax.tick_params(labelsize=8)


def _ticks(scale: DepthScale) -> list[float]:
    """Round values within the scale: 1, 2, 5, 10, ... where it is logarithmic."""
    if scale.logarithmic:
        decades = range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1)
        values = [float(f"{digit}e{decade}") for decade in decades for digit in (1, 2, 5)]
    else:
        values = ticker.MaxNLocator(7).tick_values(scale.low, scale.high)
    return [float(value) for value in values if scale.low <= value <= scale.high]
